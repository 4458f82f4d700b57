// Runs the bodies of CUDA kernels (csrc/include/device_block.h) on the host: block after block, and in each phase thread
// after thread, forwards or backwards. A body whose threads disturb each other within a phase gives two results.
#pragma once

#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "device_block.h"

namespace autometa_test {

struct HostBlock {
    int64_t index;
    bool backwards;

    template <class Phase>
    void each(const Phase& phase) const {
        for (int i = 0; i < autometa::cuda::kThreads; ++i) phase(backwards ? autometa::cuda::kThreads - 1 - i : i);
    }
    template <class Phase>
    void finally(const Phase& phase) const {
        each(phase);
    }

    template <class T>
    struct Local {
        std::vector<T> value = std::vector<T>(autometa::cuda::kThreads);
        T& operator()(int thread) { return value[static_cast<size_t>(thread)]; }
    };
};

// Shared memory starts with what a body may not read: NaN, or a bool that is neither.
template <class Body>
void run_on_host(const Body& body, bool backwards) {
    const int64_t blocks = body.blocks();
    for (int64_t i = 0; i < blocks; ++i) {
        const auto shared = std::make_unique<typename Body::Shared>();
        std::memset(static_cast<void*>(shared.get()), 0xFF, sizeof(typename Body::Shared));
        HostBlock block{backwards ? blocks - 1 - i : i, backwards};
        body(block, *shared);
    }
}

}  // namespace autometa_test
