// The Python face of the core: addresses and sizes, checked and held alive by the callers in autometa/ops. Null where
// something is read, negative sizes and lists too short raise; whether memory is as long as said cannot be seen here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "addresses.h"
#include "autometa.h"
#include "kernels.h"
#include "memory.h"
#include "philox.h"

namespace py = pybind11;
using autometa::Address;
using autometa::Arena;
using autometa::at;
using autometa::elements;
using autometa::of;
using autometa::require;

void bind_ops(py::module_& m);     // bindings_ops.cpp
void bind_stacks(py::module_& m);  // bindings_stacks.cpp

namespace {

Arena arena(Address bounds, Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups,
            int64_t layouts, int64_t kinds) {
    require(kinds >= 1 && groups >= 0 && row >= 0, "bounds: there must be a kind, and no size may be negative");
    return {of<int64_t>(bounds, {layouts, kinds + 1}, "bounds"),
            of<int64_t>(groups_of, {slots}, "group_of_slot"),
            of<int64_t>(layouts_of, {slots}, "layout_of_slot"),
            slots,
            row,
            groups,
            layouts,
            kinds};
}

// Calls body with a null pointer of the element type, so that it can be read off with decltype.
template <class Body>
void by_type(bool is_double, const Body& body) {
    if (is_double)
        body(static_cast<double*>(nullptr));
    else
        body(static_cast<float*>(nullptr));
}

void adam(bool is_double, Address phi, Address grad, Address second, Address first, Address steps, Address lr,
          Address weight_decay, Address bounds, Address groups_of, Address layouts_of, int64_t slots, int64_t row,
          int64_t groups, int64_t layouts, int64_t kinds, double beta1, double beta2, double eps, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        require(first != 0 || beta1 == 0 || elements("phi", {slots, row}) == 0, "first: without it beta1 must be 0");
        autometa::adam<T>(of<T>(phi, {slots, row}, "phi"), of<T>(grad, {slots, row}, "grad"),
                          of<T>(second, {slots, row}, "second"), at<T>(first), of<int64_t>(steps, {slots, kinds}, "steps"),
                          of<double>(lr, {groups, kinds}, "lr"),
                          of<double>(weight_decay, {groups, kinds}, "weight_decay"),
                          arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds),
                          {beta1, beta2, eps}, threads);
    });
}

void sgd(bool is_double, Address phi, Address grad, Address velocity, Address lr, Address weight_decay, Address bounds,
         Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
         int64_t kinds, double momentum, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        require(velocity != 0 || momentum == 0 || elements("phi", {slots, row}) == 0,
                "velocity: without it momentum must be 0");
        autometa::sgd<T>(of<T>(phi, {slots, row}, "phi"), of<T>(grad, {slots, row}, "grad"), at<T>(velocity),
                         of<double>(lr, {groups, kinds}, "lr"),
                         of<double>(weight_decay, {groups, kinds}, "weight_decay"),
                         arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), momentum, threads);
    });
}

void reptile(bool is_double, Address theta, Address phi, Address step_size, Address finite, Address bounds,
             Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
             int64_t kinds, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::reptile<T>(of<T>(theta, {groups, row}, "theta"), of<T>(phi, {slots, row}, "phi"),
                             of<double>(step_size, {groups, kinds}, "step_size"), of<bool>(finite, {slots}, "finite"),
                             arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), threads);
    });
}

void clip_grad(bool is_double, Address grad, Address norms, Address max_norm, Address bounds, Address groups_of,
               Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts, int64_t kinds,
               int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::clip_grad<T>(of<T>(grad, {slots, row}, "grad"), of<T>(norms, {slots, kinds}, "norms"),
                               of<double>(max_norm, {groups, kinds}, "max_norm"),
                               arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), threads);
    });
}

void finite_slots(bool is_double, Address phi, Address finite, int64_t slots, int64_t row, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::finite_slots<T>(of<T>(phi, {slots, row}, "phi"), of<bool>(finite, {slots}, "finite"), slots, row,
                                  threads);
    });
}

void sample_tasks(Address class_start, int64_t all_classes, Address classes, int64_t selectable, Address task_ids,
                  int64_t tasks, int64_t rotations, int64_t ways, int64_t shots, int64_t queries, uint32_t seed,
                  Address image, Address rotation, Address chosen) {
    require(rotations >= 1 && shots >= 0 && queries >= 0 && elements("classes", {selectable, rotations}) >= ways,
            "sample_tasks: fewer classes than ways, or a negative size");
    require(selectable == 0 || all_classes >= 0, "class_start: it must have an entry per class and one more");
    autometa::sample_tasks(of<int64_t>(class_start, {selectable, all_classes}, "class_start"), all_classes,
                           of<int64_t>(classes, {selectable}, "classes"), selectable,
                           of<int64_t>(task_ids, {tasks}, "task_ids"), tasks, {rotations, ways, shots, queries}, seed,
                           of<int64_t>(image, {tasks, ways, shots + queries}, "image"),
                           of<int64_t>(rotation, {tasks, ways}, "rotation"),
                           of<int64_t>(chosen, {tasks, ways}, "chosen"));
}

void batch_indices(Address task_ids, int64_t tasks, int64_t items, int64_t batch, int64_t steps, int64_t first_step,
                   bool passes, uint32_t seed, Address index) {
    require(items >= 1 && first_step >= 0, "batch_indices: there must be items, and no size may be negative");
    autometa::batch_indices(of<int64_t>(task_ids, {tasks}, "task_ids"), tasks, {items, batch, steps, first_step}, passes,
                            seed, of<int64_t>(index, {tasks, steps, batch}, "index"));
}

void drop_masks(bool is_double, Address task_ids, int64_t tasks, Address exempt, int64_t images, int64_t instances,
                int64_t first_image, double limit, double kept, uint32_t seed, Address mask) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        require(first_image >= 0, "drop_masks: no size may be negative");
        autometa::drop_masks<T>(of<int64_t>(task_ids, {tasks}, "task_ids"), tasks,
                                of<bool>(exempt, {instances}, "exempt"),
                                {images, instances, first_image, limit, kept}, seed,
                                of<T>(mask, {tasks, images, instances}, "mask"));
    });
}

void gather_images(Address images, int64_t count, int64_t channels, int64_t height, int64_t width, Address index,
                   Address rotation, int64_t picks, Address scale, Address shift, Address out, int threads) {
    autometa::gather_images(of<uint8_t>(images, {count, channels, height, width}, "images"),
                            {count, channels, height, width}, of<int64_t>(index, {picks}, "index"),
                            of<int64_t>(rotation, {picks}, "rotation"), picks, of<float>(scale, {channels}, "scale"),
                            of<float>(shift, {channels}, "shift"),
                            of<float>(out, {picks, channels, height, width}, "out"), threads);
}

uint32_t philox_uint32(uint32_t seed, uint32_t stream, uint64_t item, uint64_t draw) {
    return autometa::Draws(seed, static_cast<autometa::Stream>(stream), item)(draw);
}

py::tuple philox_block(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t key0, uint32_t key1) {
    const autometa::PhiloxWords words = autometa::philox({{c0, c1, c2, c3}}, key0, key1);
    return py::make_tuple(words.word[0], words.word[1], words.word[2], words.word[3]);
}

py::buffer_info bytes_of(const autometa::Block& block) {
    return py::buffer_info(static_cast<uint8_t*>(block.data()), static_cast<py::ssize_t>(block.size()));
}

py::tuple memory_report(bool reset_peak) {
    const autometa::MemoryReport found = autometa::memory_report(reset_peak);
    return py::make_tuple(found.in_use, found.cached, found.peak);
}

py::list isa_names() {
    py::list names;
    for (int i = 0; const char* name = autometa::kernels_name(i); ++i) names.append(name);
    return names;
}

void set_isa(const std::string& name) {
    if (!autometa::use_kernels(name.c_str()))
        throw std::invalid_argument("this build and machine have no instruction set named '" + name + "'");
}

}  // namespace

PYBIND11_MODULE(_C, m) {
    using release = py::call_guard<py::gil_scoped_release>;
    if (const char* wish = std::getenv("AUTOMETA_ISA")) set_isa(wish);
    m.doc() = "Compiled core of autometa; called through autometa.ops only.";
    m.attr("__version__") = AUTOMETA_VERSION;
    m.def("isa", [] { return autometa::kernels().name; }, "Instruction set in use.");
    m.def("isa_names", &isa_names, "Instruction sets that can be used, widest first.");
    m.def("set_isa", &set_isa, "Use another instruction set, for tests and comparisons.");
    py::class_<autometa::Block>(m, "Block", py::buffer_protocol(), "Pooled memory as a writable buffer of bytes.")
        .def(py::init<int64_t>())
        .def_buffer(&bytes_of);
    m.def("memory_report", &memory_report, "Bytes in use, cached, and the peak of those in use.");
    m.def("release_memory", &autometa::release_memory);
    m.def("adam", &adam, release());
    m.def("sgd", &sgd, release());
    m.def("reptile", &reptile, release());
    m.def("clip_grad", &clip_grad, release());
    m.def("finite_slots", &finite_slots, release());
    m.def("philox_block", &philox_block, "Four output words for four counter and two key words.");
    m.def("philox_uint32", &philox_uint32);
    m.def("sample_tasks", &sample_tasks, release());
    m.def("batch_indices", &batch_indices, release());
    m.def("drop_masks", &drop_masks, release());
    m.def("gather_images", &gather_images, release());
    bind_ops(m);
    bind_stacks(m);
}
