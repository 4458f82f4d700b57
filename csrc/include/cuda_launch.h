// Launching bodies (see device_block.h) and saying what went wrong. Included by .cu files only.
#pragma once

#include <cooperative_groups.h>
#include <cuda_runtime.h>

#include <algorithm>
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

// kResident: how many blocks a multiprocessor shall hold at least. Without it the compiler may keep variables in local
// memory to make room for one block more.
template <int kResident, class Body>
__global__ void __launch_bounds__(kThreads, kResident) kernel(const __grid_constant__ Body body) {
    __shared__ typename Body::Shared shared;
    DeviceBlock block{static_cast<int64_t>(blockIdx.x)};
    body(block, shared);
}

template <class Body>
int64_t blocks_of(const char* op, const Body& body) {
    const int64_t blocks = body.blocks();
    if (blocks >= int64_t{1} << 31)
        throw std::invalid_argument(std::string(op) + ": too much for one launch; pass fewer slots or tasks at once");
    return blocks;
}

template <int kResident = 0, class Body>
void launch(const char* op, const Body& body, cudaStream_t stream) {
    const int64_t blocks = blocks_of(op, body);
    if (blocks == 0) return;
    kernel<kResident><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(body);
    check(op, cudaGetLastError());
}

// This block's part of what `body` would do in a launch of its own.
template <class Body>
__device__ void share(const Body& body, typename Body::Shared& shared) {
    const int64_t blocks = body.blocks();
    for (int64_t i = blockIdx.x; i < blocks; i += gridDim.x) {
        DeviceBlock block{i};
        body(block, shared);
        __syncthreads();
    }
}

// The barrier also makes what all blocks wrote before it visible to all after it.
template <int kResident, class First, class Second>
__global__ void __launch_bounds__(kThreads, kResident)
    kernel_in_turn(const __grid_constant__ First first, const __grid_constant__ Second second) {
    __shared__ typename First::Shared of_first;
    __shared__ typename Second::Shared of_second;
    share(first, of_first);
    cooperative_groups::this_grid().sync();
    share(second, of_second);
}

// How many blocks of a kernel the current device holds at once.
inline int64_t resident_blocks(const char* op, const void* kernel) {
    int device = 0, processors = 0, each = 0;
    check(op, cudaGetDevice(&device));
    check(op, cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device));
    check(op, cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, kThreads, 0));
    return int64_t{processors} * each;
}

// All of `first`, then all of `second`, in one cooperative launch of no more blocks than are resident together, so that
// waiting for each other always ends. What a body does must depend on block.index alone, not on who else runs.
template <int kResident = 0, class First, class Second>
void launch_in_turn(const char* op, const First& first, const Second& second, cudaStream_t stream) {
    const int64_t most = std::max(blocks_of(op, first), blocks_of(op, second));
    if (most == 0) return;
    const auto kernel = reinterpret_cast<const void*>(&kernel_in_turn<kResident, First, Second>);
    const int64_t blocks = std::min(most, resident_blocks(op, kernel));
    void* arguments[] = {const_cast<First*>(&first), const_cast<Second*>(&second)};
    check(op, cudaLaunchCooperativeKernel(kernel, dim3(static_cast<unsigned>(blocks)), dim3(kThreads), arguments, 0,
                                          stream));
}

}  // namespace cuda
}  // namespace autometa
