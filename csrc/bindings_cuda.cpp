// The Python face of the CUDA module: device addresses and sizes, checked and held alive by the callers in autometa/ops.
#include <pybind11/pybind11.h>

#include <cstdint>
#include <type_traits>

#include "autometa_cuda.h"

namespace py = pybind11;
namespace cuda = autometa::cuda;
using autometa::Arena;
using Address = std::uintptr_t;

namespace {

template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

cuda::Stream on(Address stream) { return reinterpret_cast<cuda::Stream>(stream); }

Arena arena(Address bounds, Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups,
            int64_t layouts, int64_t kinds) {
    return {at<int64_t>(bounds), at<int64_t>(groups_of), at<int64_t>(layouts_of), slots, row, groups, layouts, kinds};
}

// Calls body with a null pointer of the element type, so that it can be read off with decltype.
template <class Body>
auto by_type(bool is_double, const Body& body) {
    return is_double ? body(static_cast<double*>(nullptr)) : body(static_cast<float*>(nullptr));
}

void adam(bool is_double, Address phi, Address grad, Address second, Address first, Address steps, Address lr,
          Address weight_decay, Address bounds, Address groups_of, Address layouts_of, int64_t slots, int64_t row,
          int64_t groups, int64_t layouts, int64_t kinds, double beta1, double beta2, double eps, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::adam<T>(at<T>(phi), at<T>(grad), at<T>(second), at<T>(first), at<int64_t>(steps), at<double>(lr),
                      at<double>(weight_decay),
                      arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), {beta1, beta2, eps},
                      on(stream));
    });
}

void sgd(bool is_double, Address phi, Address grad, Address velocity, Address lr, Address weight_decay, Address bounds,
         Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
         int64_t kinds, double momentum, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::sgd<T>(at<T>(phi), at<T>(grad), at<T>(velocity), at<double>(lr), at<double>(weight_decay),
                     arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), momentum, on(stream));
    });
}

void reptile(bool is_double, Address theta, Address phi, Address step_size, Address finite, Address bounds,
             Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
             int64_t kinds, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::reptile<T>(at<T>(theta), at<T>(phi), at<double>(step_size), at<bool>(finite),
                         arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), on(stream));
    });
}

int64_t clip_grad_scratch(bool is_double, int64_t slots, int64_t row, int64_t kinds) {
    return by_type(is_double, [&](auto* type) {
        return cuda::clip_grad_scratch<std::remove_pointer_t<decltype(type)>>(slots, row, kinds);
    });
}

void clip_grad(bool is_double, Address grad, Address norms, Address max_norm, Address partial, Address bounds,
               Address groups_of, Address layouts_of, int64_t slots, int64_t row, int64_t groups, int64_t layouts,
               int64_t kinds, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::clip_grad<T>(at<T>(grad), at<T>(norms), at<double>(max_norm), at<double>(partial),
                           arena(bounds, groups_of, layouts_of, slots, row, groups, layouts, kinds), on(stream));
    });
}

void finite_slots(bool is_double, Address phi, Address finite, int64_t slots, int64_t row, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::finite_slots<T>(at<T>(phi), at<bool>(finite), slots, row, on(stream));
    });
}

void sample_tasks(Address class_start, int64_t all_classes, Address classes, int64_t selectable, Address task_ids,
                  int64_t tasks, int64_t rotations, int64_t ways, int64_t shots, int64_t queries, uint32_t seed,
                  Address image, Address rotation, Address chosen, Address stream) {
    cuda::sample_tasks(at<int64_t>(class_start), all_classes, at<int64_t>(classes), selectable, at<int64_t>(task_ids),
                       tasks, {rotations, ways, shots, queries}, seed, at<int64_t>(image), at<int64_t>(rotation),
                       at<int64_t>(chosen), on(stream));
}

void batch_indices(Address task_ids, int64_t tasks, int64_t items, int64_t batch, int64_t steps, int64_t first_step,
                   bool passes, uint32_t seed, Address index, Address stream) {
    cuda::batch_indices(at<int64_t>(task_ids), tasks, {items, batch, steps, first_step}, passes, seed,
                        at<int64_t>(index), on(stream));
}

void drop_masks(bool is_double, Address task_ids, int64_t tasks, Address exempt, int64_t images, int64_t instances,
                int64_t first_image, double limit, double kept, uint32_t seed, Address mask, Address stream) {
    by_type(is_double, [&](auto* type) {
        using T = std::remove_pointer_t<decltype(type)>;
        cuda::drop_masks<T>(at<int64_t>(task_ids), tasks, at<bool>(exempt),
                            {images, instances, first_image, limit, kept}, seed, at<T>(mask), on(stream));
    });
}

void gather_images(Address images, int64_t count, int64_t channels, int64_t height, int64_t width, Address index,
                   Address rotation, int64_t picks, Address scale, Address shift, Address out, Address stream) {
    cuda::gather_images(at<uint8_t>(images), {count, channels, height, width}, at<int64_t>(index),
                        at<int64_t>(rotation), picks, at<float>(scale), at<float>(shift), at<float>(out), on(stream));
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
    using release = py::call_guard<py::gil_scoped_release>;
    m.doc() = "CUDA kernels of autometa; called through autometa.ops only.";
    m.attr("__version__") = AUTOMETA_VERSION;
    m.attr("architectures") = AUTOMETA_CUDA_ARCHITECTURES;
    m.def("runtime_version", &cuda::runtime_version, "The CUDA runtime inside, e.g. 13000.");
    m.def("driver_version", &cuda::driver_version, "The newest CUDA that the driver knows, 0 without one.");
    m.def("adam", &adam, release());
    m.def("sgd", &sgd, release());
    m.def("reptile", &reptile, release());
    m.def("clip_grad_scratch", &clip_grad_scratch, "Doubles that clip_grad needs as `partial`.");
    m.def("clip_grad", &clip_grad, release());
    m.def("finite_slots", &finite_slots, release());
    m.def("sample_tasks", &sample_tasks, release());
    m.def("batch_indices", &batch_indices, release());
    m.def("drop_masks", &drop_masks, release());
    m.def("gather_images", &gather_images, release());
}
