// Adam's arithmetic, shared by the C++ core and the CUDA kernel.
#pragma once

#include "arena.h"

namespace autometa {

template <class T>
struct alignas(16) AdamStep {
    T rate;     // lr / (1 - beta1^t)
    T decay;    // L2 weight decay
    T unbias2;  // 1 / (1 - beta2^t)
    T beta1, keep1, beta2, keep2, eps;  // keep = 1 - beta
};

// The constants of step t; lr is not 0.
template <class T>
AUTOMETA_FORMULA AdamStep<T> adam_step(int64_t t, double lr, double weight_decay, AdamConstants c) {
    const double count = static_cast<double>(t);
    const double decayed = c.beta1 == 0.0 ? 0.0 : ::pow(c.beta1, count);  // the usual case spares the power
    return {static_cast<T>(lr / (1.0 - decayed)),
            static_cast<T>(weight_decay),
            static_cast<T>(1.0 / (1.0 - ::pow(c.beta2, count))),
            static_cast<T>(c.beta1),
            static_cast<T>(1.0 - c.beta1),
            static_cast<T>(c.beta2),
            static_cast<T>(1.0 - c.beta2),
            static_cast<T>(c.eps)};
}

// A step of all zeros stands for a frozen kind: keep2 is positive in every other.
template <class T>
AUTOMETA_FORMULA bool frozen(const AdamStep<T>& step) {
    return step.keep2 == T(0);
}

template <class T>
AUTOMETA_FORMULA void adam_element(T& p, T g, T& v, const AdamStep<T>& s) {
    const T grad = g + s.decay * p;
    const T second = s.beta2 * v + s.keep2 * (grad * grad);
    v = second;
    p -= s.rate * grad / (square_root(second * s.unbias2) + s.eps);
}

template <class T>
AUTOMETA_FORMULA void adam_element(T& p, T g, T& v, T& m, const AdamStep<T>& s) {
    const T grad = g + s.decay * p;
    const T second = s.beta2 * v + s.keep2 * (grad * grad);
    const T first = s.beta1 * m + s.keep1 * grad;
    v = second;
    m = first;
    p -= s.rate * first / (square_root(second * s.unbias2) + s.eps);
}

}  // namespace autometa
