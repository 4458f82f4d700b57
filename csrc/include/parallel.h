// Work shared between threads of a pool of our own, which survives fork.
#pragma once

#include <cstdint>
#include <functional>

namespace autometa {

// Call body(i) for i = 0 .. items - 1 on up to `threads` threads, the caller among them, in any order.
// The body must not throw and must not call parallel_for. If the pool is busy with another caller's
// work, the caller does all of it.
void parallel_for(int64_t items, int threads, const std::function<void(int64_t)>& body);

// Columns one item of work covers: small enough for a level-2 cache, large enough to pay for itself.
constexpr int64_t kBlock = 8192;

inline int64_t blocks_of(int64_t row) { return (row + kBlock - 1) / kBlock; }

// Threads worth waking for so many elements.
inline int useful_threads(int64_t elements, int threads) {
    constexpr int64_t per_thread = 4 * kBlock;
    const int64_t useful = elements / per_thread;
    return useful < threads ? static_cast<int>(useful < 1 ? 1 : useful) : threads;
}

// Call body(slot, first, last) for every slot and block of columns [first, last) of a row.
template <class Body>
void parallel_blocks(int64_t slots, int64_t row, int threads, const Body& body) {
    const int64_t blocks = blocks_of(row);
    parallel_for(slots * blocks, useful_threads(slots * row, threads), [&](int64_t item) {
        const int64_t first = item % blocks * kBlock;
        body(item / blocks, first, first + kBlock < row ? first + kBlock : row);
    });
}

}  // namespace autometa
