// The Python face of the core: addresses and sizes, checked and held alive by the callers in autometa/ops.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "memory.h"
#include "philox.h"

namespace py = pybind11;
using autometa::Arena;
using Address = std::uintptr_t;

void bind_stacks(py::module_& m);  // bindings_stacks.cpp

namespace {

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

Arena arena(Address bounds, Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups,
            int64_t layouts, int64_t kinds) {
    return {at<int64_t>(bounds), at<int64_t>(groups_of), at<int64_t>(layouts_of), slots, row, groups, layouts, kinds};
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
        autometa::adam<T>(at<T>(phi), at<T>(grad), at<T>(second), at<T>(first), at<int64_t>(steps), at<double>(lr),
                          at<double>(weight_decay),
                          arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds),
                          {beta1, beta2, eps}, threads);
    });
}

void sgd(bool is_double, Address phi, Address grad, Address velocity, Address lr, Address weight_decay, Address bounds,
         Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
         int64_t kinds, double momentum, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::sgd<T>(at<T>(phi), at<T>(grad), at<T>(velocity), at<double>(lr), at<double>(weight_decay),
                         arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), momentum, threads);
    });
}

void reptile(bool is_double, Address theta, Address phi, Address step_size, Address finite, Address bounds,
             Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
             int64_t kinds, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::reptile<T>(at<T>(theta), at<T>(phi), at<double>(step_size), at<bool>(finite),
                             arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), threads);
    });
}

void clip_grad(bool is_double, Address grad, Address norms, Address max_norm, Address bounds, Address groups_of,
               Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts, int64_t kinds,
               int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::clip_grad<T>(at<T>(grad), at<T>(norms), at<double>(max_norm),
                               arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), threads);
    });
}

void finite_slots(bool is_double, Address phi, Address finite, int64_t slots, int64_t row, int threads) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::finite_slots<T>(at<T>(phi), at<bool>(finite), slots, row, threads);
    });
}

void sample_tasks(Address class_start, int64_t all_classes, Address classes, int64_t selectable, Address task_ids,
                  int64_t tasks, int64_t rotations, int64_t ways, int64_t shots, int64_t queries, uint32_t seed,
                  Address image, Address rotation, Address chosen) {
    autometa::sample_tasks(at<int64_t>(class_start), all_classes, at<int64_t>(classes), selectable,
                           at<int64_t>(task_ids), tasks, {rotations, ways, shots, queries}, seed, at<int64_t>(image),
                           at<int64_t>(rotation), at<int64_t>(chosen));
}

void batch_indices(Address task_ids, int64_t tasks, int64_t items, int64_t batch, int64_t steps, int64_t first_step,
                   bool passes, uint32_t seed, Address index) {
    autometa::batch_indices(at<int64_t>(task_ids), tasks, {items, batch, steps, first_step}, passes, seed,
                            at<int64_t>(index));
}

void drop_masks(bool is_double, Address task_ids, int64_t tasks, Address exempt, int64_t images, int64_t instances,
                int64_t first_image, double limit, double kept, uint32_t seed, Address mask) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        autometa::drop_masks<T>(at<int64_t>(task_ids), tasks, at<bool>(exempt),
                                {images, instances, first_image, limit, kept}, seed, at<T>(mask));
    });
}

void gather_images(Address images, int64_t count, int64_t channels, int64_t height, int64_t width, Address index,
                   Address rotation, int64_t picks, Address scale, Address shift, Address out, int threads) {
    autometa::gather_images(at<uint8_t>(images), {count, channels, height, width}, at<int64_t>(index),
                            at<int64_t>(rotation), picks, at<float>(scale), at<float>(shift), at<float>(out), threads);
}

// Per state its address, channels, height and width.
using States = std::vector<std::array<int64_t, 4>>;

std::vector<autometa::Activation> activations(const States& states) {
    std::vector<autometa::Activation> found;
    for (const auto& [address, channels, height, width] : states)
        found.push_back({at<float>(static_cast<Address>(address)), channels, height, width});
    return found;
}

// Number of rows of a table of states, its address, that of the rows of the slots.
using TableOf = std::tuple<int64_t, Address, Address>;

autometa::HeadShape head_shape(int64_t slots, int64_t batch, int64_t classes, int64_t row, bool flatten,
                               const TableOf& table) {
    const auto& [tables, rows, row_of_slot] = table;
    return {slots, batch, classes, row, flatten, tables, at<int64_t>(rows), at<int64_t>(row_of_slot)};
}

void linear_head(const States& states, Address params, int64_t slots, int64_t batch, int64_t classes, int64_t row,
                 bool flatten, const TableOf& table, Address features, Address logits, int threads) {
    autometa::linear_head(activations(states), at<float>(params),
                          head_shape(slots, batch, classes, row, flatten, table), at<float>(features),
                          at<float>(logits), threads);
}

void linear_head_backward(Address grad, Address features, Address params, int64_t slots, int64_t batch,
                          int64_t classes, int64_t row, bool flatten, const TableOf& table, Address grad_params,
                          int64_t grad_row, const States& grads, int threads) {
    autometa::linear_head_backward(at<float>(grad), at<float>(features), at<float>(params),
                                   head_shape(slots, batch, classes, row, flatten, table), at<float>(grad_params),
                                   grad_row, grad_row, activations(grads), threads);
}

void cross_entropy(Address logits, Address labels, int64_t slots, int64_t batch, int64_t classes, Address losses,
                   int threads) {
    autometa::cross_entropy(at<float>(logits), at<int64_t>(labels), {slots, batch, classes}, at<float>(losses),
                            threads);
}

void cross_entropy_backward(Address grad, Address logits, Address labels, int64_t slots, int64_t batch,
                            int64_t classes, Address grad_logits, int threads) {
    autometa::cross_entropy_backward(at<float>(grad), at<float>(logits), at<int64_t>(labels), {slots, batch, classes},
                                     at<float>(grad_logits), threads);
}

void sum_activations(const std::vector<Address>& x, Address out, int64_t images, const std::array<int64_t, 3>& shape,
                     int threads) {
    std::vector<const float*> parts;
    for (const Address address : x) parts.push_back(at<float>(address));
    autometa::sum_activations(parts, at<float>(out), images, {nullptr, shape[0], shape[1], shape[2]}, threads);
}

void join_columns(const std::vector<std::array<int64_t, 3>>& parts, Address out, int64_t rows, int64_t row,
                  int threads) {
    std::vector<autometa::Columns> columns;
    for (const auto& [address, distance, width] : parts)
        columns.push_back({at<float>(static_cast<Address>(address)), distance, width});
    autometa::join_columns(columns, at<float>(out), rows, row, threads);
}

// By state the address of its gradient, 0 for none, and whether to add to what stands there.
using Gradients = std::vector<std::pair<Address, bool>>;

std::vector<autometa::StateGradient> state_gradients(const Gradients& gradients) {
    std::vector<autometa::StateGradient> found;
    for (const auto& [address, add] : gradients) found.push_back({at<float>(address), add});
    return found;
}

// Pointers and sizes of a node, in the order of autometa/ops/_mixed_op_cpp.py.
struct NodeOf {
    std::vector<const float*> states;
    std::vector<int64_t> sizes;
    autometa::Node node;

    NodeOf(const std::vector<Address>& addresses, const std::vector<int64_t>& state_sizes,
           const std::vector<int64_t>& shape, const std::vector<Address>& tensors, bool affine, double eps, int threads)
        : sizes(state_sizes) {
        for (const Address address : addresses) states.push_back(at<float>(address));
        node = {shape[0], shape[1], shape[2], static_cast<int64_t>(states.size()), shape[3], shape[4], shape[5],
                sizes.data(), states.data(), at<float>(tensors[0]), shape[6], shape[7], at<float>(tensors[1]),
                at<float>(tensors[2]), at<int64_t>(tensors[3]), at<int64_t>(tensors[4]), at<float>(tensors[5]),
                at<float>(tensors[6]), affine, eps, threads};
    }
    NodeOf(const NodeOf&) = delete;
    NodeOf& operator=(const NodeOf&) = delete;
};

void mixed_op(const NodeOf& of, Address y, Address saved, Address statistics) {
    autometa::mixed_op(of.node, at<float>(y), at<float>(saved), at<float>(statistics));
}

void mixed_op_backward(const NodeOf& of, Address saved, Address gy, const Gradients& dstates, Address dparams,
                       Address dop, Address dinput) {
    autometa::mixed_op_backward(of.node, at<float>(saved), at<float>(gy), state_gradients(dstates).data(),
                                at<float>(dparams), at<float>(dop), at<float>(dinput));
}

// Pointers and sizes of a preprocessing, in the order of autometa/ops/_preprocess_cpp.py.
struct PreprocessOf {
    std::vector<const float*> states;
    autometa::Preprocess args;

    PreprocessOf(const std::vector<Address>& addresses, const std::vector<int64_t>& shape, Address params,
                 Address given, const TableOf& table, bool reduce, bool affine, double eps, int threads) {
        const auto& [tables, rows, row_of_slot] = table;
        for (const Address address : addresses) states.push_back(at<float>(address));
        args = {shape[0], shape[1], static_cast<int64_t>(states.size()), shape[2], shape[3], shape[4], shape[5],
                states.data(), at<float>(params), shape[6], shape[7], at<float>(given), reduce, affine, eps, threads,
                tables, at<int64_t>(rows), at<int64_t>(row_of_slot)};
    }
    PreprocessOf(const PreprocessOf&) = delete;
    PreprocessOf& operator=(const PreprocessOf&) = delete;
};

void preprocess(const PreprocessOf& of, Address y, Address saved, Address statistics) {
    autometa::preprocess(of.args, at<float>(y), at<float>(saved), at<float>(statistics));
}

void preprocess_backward(const PreprocessOf& of, Address saved, Address y, Address gy,
                         const Gradients& dstates, Address dparams) {
    autometa::preprocess_backward(of.args, at<float>(saved), at<float>(y), at<float>(gy),
                                  state_gradients(dstates).data(), at<float>(dparams));
}

// Arguments in the order of autometa/ops/_conv_block_cpp.py: three addresses, then sizes and flags.
autometa::ConvBlock conv_block_of(const std::array<Address, 3>& tensors, const std::array<int64_t, 5>& x_step,
                                  const std::array<int64_t, 16>& sizes, const std::array<bool, 4>& flags, double eps,
                                  int threads) {
    const auto& [slots, batch, c_in, c_out, height, width, kernel, stride, top, left, conv_height, conv_width,
                 out_height, out_width, params_row, params_width] = sizes;
    autometa::ConvBlock block{slots, batch, c_in, c_out, height, width, kernel, stride, top, left, conv_height,
                              conv_width, out_height, out_width, at<float>(tensors[0]), {}, at<float>(tensors[1]),
                              params_row, params_width, params_width, at<float>(tensors[2]), flags[0], flags[1], flags[2], flags[3],
                              eps, threads};
    std::copy(x_step.begin(), x_step.end(), block.x_step);
    return block;
}

void conv_block(const autometa::ConvBlock& block, Address y, Address saved, Address statistics) {
    autometa::conv_block(block, at<float>(y), at<float>(saved), at<float>(statistics));
}

void conv_block_backward(const autometa::ConvBlock& block, Address saved, Address y, Address gy, Address dx,
                         Address dparams) {
    autometa::conv_block_backward(block, at<float>(saved), at<float>(y), at<float>(gy), at<float>(dx),
                                  at<float>(dparams));
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
    py::class_<NodeOf>(m, "Node", "Arguments of mixed_op.")
        .def(py::init<const std::vector<Address>&, const std::vector<int64_t>&, const std::vector<int64_t>&,
                      const std::vector<Address>&, bool, double, int>());
    m.def("mixed_op_saved", [](const NodeOf& of) { return autometa::mixed_op_saved(of.node); });
    m.def("mixed_op", &mixed_op, release());
    m.def("mixed_op_backward", &mixed_op_backward, release());
    py::class_<PreprocessOf>(m, "Preprocess", "Arguments of preprocess.")
        .def(py::init<const std::vector<Address>&, const std::vector<int64_t>&, Address, Address, const TableOf&,
                      bool, bool, double, int>());
    m.def("preprocess_saved", [](const PreprocessOf& of) { return autometa::preprocess_saved(of.args); });
    m.def("preprocess", &preprocess, release());
    m.def("preprocess_backward", &preprocess_backward, release());
    py::class_<autometa::ConvBlock>(m, "ConvBlock", "Arguments of conv_block.").def(py::init(&conv_block_of));
    m.def("conv_block_saved", &autometa::conv_block_saved);
    m.def("conv_block", &conv_block, release());
    m.def("conv_block_backward", &conv_block_backward, release());
    bind_stacks(m);
    m.def("sum_activations", &sum_activations, release());
    m.def("join_columns", &join_columns, release());
    m.def("linear_head", &linear_head, release());
    m.def("linear_head_backward", &linear_head_backward, release());
    m.def("cross_entropy", &cross_entropy, release());
    m.def("cross_entropy_backward", &cross_entropy_backward, release());
}
