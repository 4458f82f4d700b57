// Stands in for csrc/include/cuda_launch.h where the CUDA module is compiled for the host: a launch runs the body here
// and now, thread by thread (tests/ops/cuda_on_host.py).
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>

#include "../host_block.h"

enum cudaError_t { cudaSuccess };

inline cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, CUstream_st*) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}

inline cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}

inline cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

namespace autometa {
namespace cuda {

inline void check(const char*, cudaError_t) {}

// Every other launch runs backwards.
template <class Body>
void launch(const char*, const Body& body, CUstream_st*) {
    static bool backwards = false;
    backwards = !backwards;
    autometa_test::run_on_host(body, backwards);
}

}  // namespace cuda
}  // namespace autometa
