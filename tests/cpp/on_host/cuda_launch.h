// Stands in for csrc/include/cuda_launch.h where the CUDA module is compiled for the host: a launch runs the body here
// and now, thread by thread (tests/ops/cuda_on_host.py).
#pragma once

#include <stdexcept>
#include <string>

#include "../host_block.h"

enum cudaError_t { cudaSuccess };

inline cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 0;
    return cudaSuccess;
}

inline cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }

// Launches so far, for tests to read.
extern "C" {
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
inline int64_t autometa_launches = 0;
}

namespace autometa {
namespace cuda {

inline void check(const char*, cudaError_t) {}

// Every other launch runs backwards.
template <class... Bodies>
void run_in_turn(const Bodies&... bodies) {
    static bool backwards = false;
    backwards = !backwards;
    ++autometa_launches;
    (autometa_test::run_on_host(bodies, backwards), ...);
}

template <int = 0, class Body>
void launch(const char*, const Body& body, CUstream_st*) {
    run_in_turn(body);
}

template <int = 0, class First, class Second>
void launch_in_turn(const char*, const First& first, const Second& second, CUstream_st*) {
    run_in_turn(first, second);
}

}  // namespace cuda
}  // namespace autometa
