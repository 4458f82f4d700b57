// The CUDA kernels of Adam; see device_block.h for how they are written.
#pragma once

#include "formula.h"
#include "row_update.h"

namespace autometa {
namespace cuda {

// Counts the step of every slot and kind that is not frozen, and writes its constants, which every thread of the update
// would otherwise compute anew.
template <class T>
struct AdamStepBody {
    using Shared = Nothing;
    AdamStep<T>* table;  // [slots, kinds]
    int64_t* steps;
    const double *lr, *weight_decay;
    Arena arena;
    AdamConstants constants;

    int64_t blocks() const { return (arena.slots * arena.kinds + kThreads - 1) / kThreads; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            const int64_t at = block.index * kThreads + thread;
            if (at >= arena.slots * arena.kinds) return;
            const int64_t slot = at / arena.kinds, kind = at % arena.kinds;
            const int64_t of_group = group_of(arena, slot) * arena.kinds + kind;
            AdamStep<T> step{};
            if (lr[of_group] != 0.0) {
                const int64_t t = steps[at] + 1;
                steps[at] = t;
                step = adam_step<T>(t, lr[of_group], weight_decay[of_group], constants);
            }
            table[at] = step;
        });
    }
};

// The rows are phi, the second moments and, where there are three, the first ones.
template <class T>
struct AdamRule {
    using Step = AdamStep<T>;
    const AdamStep<T>* table;

    AUTOMETA_BOTH bool begin(const Arena& arena, int64_t slot, int64_t kind, Step& step) const {
        step = table[slot * arena.kinds + kind];
        return !frozen(step);
    }
    static AUTOMETA_BOTH void apply(T (&x)[2], T g, const Step& step) { adam_element(x[0], g, x[1], step); }
    static AUTOMETA_BOTH void apply(T (&x)[3], T g, const Step& step) { adam_element(x[0], g, x[1], x[2], step); }
};

}  // namespace cuda
}  // namespace autometa
