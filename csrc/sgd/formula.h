// Gradient descent's arithmetic, shared by the C++ core and the CUDA kernel.
#pragma once

#include "host_device.h"

namespace autometa {

template <class T>
AUTOMETA_FORMULA void sgd_element(T& p, T g, T rate, T decay) {
    p -= rate * (g + decay * p);
}

template <class T>
AUTOMETA_FORMULA void sgd_element(T& p, T g, T& velocity, T rate, T decay, T momentum) {
    const T step = momentum * velocity + (g + decay * p);
    velocity = step;
    p -= rate * step;
}

}  // namespace autometa
