// The CUDA kernel that draws drop-path masks; see device_block.h for how it is written.
#pragma once

#include "device_block.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// A thread computes one block of the generator, whose four draws belong to neighbouring elements of a task's mask.
template <class T>
struct DropBody {
    using Shared = Nothing;
    const int64_t* task_ids;
    int64_t tasks;
    const bool* exempt;
    MaskShape shape;
    uint32_t seed;
    T* mask;

    AUTOMETA_BOTH int64_t begin() const { return shape.first_image * shape.instances; }
    AUTOMETA_BOTH int64_t count() const { return shape.images * shape.instances; }
    AUTOMETA_BOTH int64_t per_task() const {
        return count() == 0 ? 0 : (begin() + count() - 1) / 4 - begin() / 4 + 1;
    }
    int64_t blocks() const { return (tasks * per_task() + kThreads - 1) / kThreads; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            const int64_t at = block.index * kThreads + thread;
            if (at >= tasks * per_task()) return;
            const int64_t task = at / per_task(), of_four = begin() / 4 + at - task * per_task();
            const Draws draws(seed, kDropPath, static_cast<uint64_t>(task_ids[task]));
            const PhiloxWords words = draws.block(static_cast<uint64_t>(of_four));
            T* to = mask + task * count();
            AUTOMETA_UNROLL
            for (int i = 0; i < 4; ++i) {
                const int64_t element = 4 * of_four + i - begin();
                if (element >= 0 && element < count())
                    to[element] = drop_mask<T>(words.word[i], exempt[element % shape.instances], shape);
            }
        });
    }
};

}  // namespace cuda
}  // namespace autometa
