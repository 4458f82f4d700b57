// The Python face of the CUDA module: device addresses and sizes, checked and held alive by the callers in autometa/ops.
#include <pybind11/pybind11.h>

#include <cstdint>

#include "autometa_cuda.h"

namespace py = pybind11;
namespace cuda = autometa::cuda;
namespace ops = autometa::cuda;
using Where = std::uintptr_t;

namespace autometa {
namespace cuda {
Stream on(Where handle) { return reinterpret_cast<Stream>(handle); }
}  // namespace cuda
}  // namespace autometa

#include "bindings_arena.h"

PYBIND11_MODULE(_cuda, m) {
    m.doc() = "CUDA kernels of autometa; called through autometa.ops only.";
    m.attr("__version__") = AUTOMETA_VERSION;
    m.attr("architectures") = AUTOMETA_CUDA_ARCHITECTURES;
    m.def("runtime_version", &cuda::runtime_version, "The CUDA runtime inside, e.g. 13000.");
    m.def("driver_version", &cuda::driver_version, "The newest CUDA that the driver knows, 0 without one.");
    bind_arena(m);
}
