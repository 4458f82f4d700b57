// The CUDA kernel that draws the inner steps' batches; see device_block.h for how it is written.
#pragma once

#include "arena.h"
#include "device_block.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// One thread per index. In passes it follows its place back through the shuffle: up to `items` draws, and no memory.
struct BatchBody {
    using Shared = Nothing;
    const int64_t* task_ids;
    int64_t tasks;
    BatchShape shape;
    bool passes;
    uint32_t seed;
    int64_t* index;

    AUTOMETA_BOTH int64_t per_task() const { return shape.steps * shape.batch; }
    int64_t blocks() const { return (tasks * per_task() + kThreads - 1) / kThreads; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            const int64_t at = block.index * kThreads + thread;
            if (at >= tasks * per_task()) return;
            const int64_t task = at / per_task();
            const int64_t draw = shape.first_step * shape.batch + at - task * per_task();
            Draws draws(seed, kBatch, static_cast<uint64_t>(task_ids[task]));
            index[at] = passes ? shuffled_item(draws, draw / shape.items, shape.items, draw % shape.items)
                               : draws.below(static_cast<uint64_t>(draw), shape.items);
        });
    }
};

}  // namespace cuda
}  // namespace autometa
