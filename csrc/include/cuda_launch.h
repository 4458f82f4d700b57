// Launching bodies (see device_block.h) and saying what went wrong. Included by .cu files only.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

#include "device_block.h"

namespace autometa {
namespace cuda {

inline void check(const char* op, cudaError_t error) {
    if (error == cudaSuccess) return;
    throw std::runtime_error(std::string(op) + ": the CUDA launch failed, or work launched earlier did: " +
                             cudaGetErrorString(error) + " (" + cudaGetErrorName(error) + ")");
}

template <class Body>
__global__ void __launch_bounds__(kThreads) kernel(const __grid_constant__ Body body) {
    __shared__ typename Body::Shared shared;
    DeviceBlock block{static_cast<int64_t>(blockIdx.x)};
    body(block, shared);
}

template <class Body>
void launch(const char* op, const Body& body, cudaStream_t stream) {
    const int64_t blocks = body.blocks();
    if (blocks == 0) return;
    if (blocks >= int64_t{1} << 31)
        throw std::invalid_argument(std::string(op) + ": too much for one launch; pass fewer slots or tasks at once");
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(body);
    check(op, cudaGetLastError());
}

}  // namespace cuda
}  // namespace autometa
