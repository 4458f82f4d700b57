// How a CUDA kernel is written here: a struct of arguments whose
//     template <class Block> void operator()(Block& block, Shared& shared) const
// is what one block of threads does, in phases: block.each(f) calls f(thread) for every thread and lets none go on
// before all are done. The same body also runs on the host (tests/cpp/host_block.h), thread by thread.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace autometa {
namespace cuda {

constexpr int kThreads = 256;

struct Nothing {};  // for bodies that share no memory

#if defined(__CUDACC__)

struct DeviceBlock {
    int64_t index;

    template <class Phase>
    AUTOMETA_BOTH void each(const Phase& phase) const {
#if defined(__CUDA_ARCH__)
        phase(static_cast<int>(threadIdx.x));
        __syncthreads();
#endif
    }

    // A phase after which nobody waits: the last one, or one that disturbs no other thread in the next.
    template <class Phase>
    AUTOMETA_BOTH void finally(const Phase& phase) const {
#if defined(__CUDA_ARCH__)
        phase(static_cast<int>(threadIdx.x));
#endif
    }

    // A thread's own value, from phase to phase.
    template <class T>
    struct Local {
        T value{};
        AUTOMETA_BOTH T& operator()(int) { return value; }
    };
};

#endif

// value[0] becomes the sum of all threads' values, added pairwise in an order that is always the same.
template <class Block>
AUTOMETA_BOTH void add_up(Block& block, double (&value)[kThreads]) {
    AUTOMETA_UNROLL
    for (int half = kThreads / 2; half > 0; half /= 2)
        block.each([&](int thread) {
            if (thread < half) value[thread] += value[thread + half];
        });
}

}  // namespace cuda
}  // namespace autometa
