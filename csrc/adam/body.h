// The CUDA kernel of Adam; see device_block.h for how it is written.
#pragma once

#include "formula.h"
#include "row_update.h"

namespace autometa {
namespace cuda {

// The number of the step that `sharers` blocks take together; each calls this once. The upper half of `steps` counts
// calls; the lower half, the steps before, stays until the last call, which counts the step and clears the upper half.
// So all blocks find the same number, in whatever order they come: one number is all they share, there is no other
// access to order with it, and nothing to reset.
AUTOMETA_FORMULA int64_t count_step(int64_t* steps, int64_t sharers) {
    constexpr uint64_t kCall = uint64_t{1} << 32;
    const uint64_t before = fetch_add(steps, kCall), all = static_cast<uint64_t>(sharers);
    if (before / kCall == all - 1) fetch_add(steps, 1 - all * kCall);
    return static_cast<int64_t>(before % kCall + 1);
}

// The rows are phi, the second moments and, where there are three, the first ones.
template <class T>
struct AdamRule {
    using Step = AdamStep<T>;
    int64_t* steps;  // [slots, kinds], each below 2^32
    const double *lr, *weight_decay;
    AdamConstants constants;

    AUTOMETA_BOTH bool begin(const Arena& arena, int64_t slot, int64_t kind, int64_t sharers, Step& step) const {
        const int64_t of_group = group_of(arena, slot) * arena.kinds + kind;
        if (lr[of_group] == 0.0) return false;
        const int64_t t = count_step(steps + slot * arena.kinds + kind, sharers);
        step = adam_step<T>(t, lr[of_group], weight_decay[of_group], constants);
        return true;
    }
    static AUTOMETA_BOTH void apply(T (&x)[2], T g, const Step& step) { adam_element(x[0], g, x[1], step); }
    static AUTOMETA_BOTH void apply(T (&x)[3], T g, const Step& step) { adam_element(x[0], g, x[1], x[2], step); }
};

}  // namespace cuda
}  // namespace autometa
