// Runs the bodies of CUDA kernels (csrc/include/device_block.h) on the host: block after block, and in each phase thread
// after thread, forwards or backwards. A body whose threads disturb each other within a phase gives two results.
#pragma once

#include <cstring>
#include <memory>
#include <thread>
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
void run_block(const Body& body, int64_t index, bool backwards) {
    const auto shared = std::make_unique<typename Body::Shared>();
    std::memset(static_cast<void*>(shared.get()), 0xFF, sizeof(typename Body::Shared));
    HostBlock block{index, backwards};
    body(block, *shared);
}

template <class Body>
void run_on_host(const Body& body, bool backwards) {
    const int64_t blocks = body.blocks();
    for (int64_t i = 0; i < blocks; ++i) run_block(body, backwards ? blocks - 1 - i : i, backwards);
}

// Blocks in several threads at once, for the thread sanitizer to see what blocks do to each other.
template <class Body>
void run_at_once(const Body& body) {
    constexpr int64_t kWorkers = 4;
    const int64_t blocks = body.blocks();
    std::vector<std::thread> workers;
    for (int64_t w = 0; w < kWorkers; ++w)
        workers.emplace_back([&body, blocks, w] {
            for (int64_t i = w; i < blocks; i += kWorkers) run_block(body, i, w % 2 == 1);
        });
    for (std::thread& worker : workers) worker.join();
}

enum class Order { forwards, backwards, at_once };

template <class... Bodies>
void run_in(Order order, const Bodies&... bodies) {
    if (order == Order::at_once)
        (run_at_once(bodies), ...);
    else
        (run_on_host(bodies, order == Order::backwards), ...);
}

}  // namespace autometa_test
