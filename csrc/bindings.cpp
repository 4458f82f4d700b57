// The Python face of the core: addresses and sizes, checked and held alive by the callers in autometa/ops. Null where
// something is read, negative sizes and lists too short raise; whether memory is as long as said cannot be seen here.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "autometa.h"
#include "kernels.h"
#include "memory.h"
#include "philox.h"

namespace py = pybind11;
namespace ops = autometa;
using Where = int;

// What the CUDA module's entry points have besides.
namespace autometa {
int on(int threads) { return threads; }
template <class T>
int64_t clip_grad_scratch(int64_t, int64_t, int64_t) {
    return 0;
}
template <class T>
void clip_grad(T* grad, T* norms, const double* max_norm, double*, const Arena& arena, int threads) {
    clip_grad<T>(grad, norms, max_norm, arena, threads);
}
}  // namespace autometa

#include "bindings_arena.h"

void bind_ops(py::module_& m);     // bindings_ops.cpp
void bind_stacks(py::module_& m);  // bindings_stacks.cpp

namespace {

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
    m.def("philox_block", &philox_block, "Four output words for four counter and two key words.");
    m.def("philox_uint32", &philox_uint32);
    bind_arena(m);
    bind_ops(m);
    bind_stacks(m);
}
