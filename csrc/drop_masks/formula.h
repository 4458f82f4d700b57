// What a random number does to an op instance, shared by the C++ core and the CUDA kernel.
#pragma once

#include "arena.h"
#include "philox.h"

namespace autometa {

template <class T>
AUTOMETA_FORMULA T drop_mask(uint32_t number, bool exempt, const MaskShape& shape) {
    if (exempt) return T(1);
    return static_cast<double>(number) < shape.limit ? static_cast<T>(shape.kept) : T(0);
}

}  // namespace autometa
