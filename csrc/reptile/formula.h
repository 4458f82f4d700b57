// Reptile's arithmetic, shared by the C++ core and the CUDA kernel.
#pragma once

#include "host_device.h"

namespace autometa {

// The mean of differences is the mean of the rows less theta: total is the rows' sum, count their number.
template <class T>
AUTOMETA_FORMULA T reptile_element(T theta, double total, double count, double step_size) {
    const double start = static_cast<double>(theta);
    return static_cast<T>(start + step_size * (total / count - start));
}

}  // namespace autometa
