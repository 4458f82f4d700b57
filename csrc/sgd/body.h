// The CUDA kernel of gradient descent; see device_block.h for how it is written.
#pragma once

#include "formula.h"
#include "row_update.h"

namespace autometa {
namespace cuda {

// The rows are phi and, where there are two, the velocity.
template <class T>
struct SgdRule {
    struct Step {
        T rate, decay, momentum;
    };
    const double *lr, *weight_decay;
    double momentum;

    AUTOMETA_BOTH bool begin(const Arena& arena, int64_t slot, int64_t kind, int64_t, Step& step) const {
        const int64_t of_group = group_of(arena, slot) * arena.kinds + kind;
        step = {static_cast<T>(lr[of_group]), static_cast<T>(weight_decay[of_group]), static_cast<T>(momentum)};
        return lr[of_group] != 0.0;
    }
    static AUTOMETA_BOTH void apply(T (&x)[1], T g, const Step& step) { sgd_element(x[0], g, step.rate, step.decay); }
    static AUTOMETA_BOTH void apply(T (&x)[2], T g, const Step& step) {
        sgd_element(x[0], g, x[1], step.rate, step.decay, step.momentum);
    }
};

}  // namespace cuda
}  // namespace autometa
