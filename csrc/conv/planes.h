// Steps on planes that the convolutional ops share.
#pragma once

#include "conv.h"
#include "kernels.h"

namespace autometa {

// out = relu(a * x + b) with a border of zeros; x [height, width, lanes] without border; a, b may be null (1, 0).
inline void fill_relu(const float* x, const float* a, const float* b, const Plane& out) {
    const ConvKernels& k = kernels().conv;
    out.clear_border();
    if (out.pad_w == 0) {
        k.affine_relu(x, a, b, out.base, out.pixels(), out.lanes);
        return;
    }
    for (int64_t r = 0; r < out.height; ++r)
        k.affine_relu(x + r * out.width * out.lanes, a, b, out.at(r, 0), out.width, out.lanes);
}

// out = c + a * g + b * z with a border of zeros; z may be null.
inline void fill_gradient(const float* g, const float* z, const float* a, const float* b, const float* c,
                          const Plane& out) {
    const ConvKernels& k = kernels().conv;
    const float* coefficients[2] = {a, b};
    out.clear_border();
    const int64_t rows = out.pad_w == 0 ? 1 : out.height, pixels = out.pixels() / rows;
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t skip = r * pixels * out.lanes;
        const float* maps[2] = {g + skip, z == nullptr ? nullptr : z + skip};
        k.combine(maps, coefficients, z == nullptr ? 1 : 2, c, out.at(r, 0), pixels, out.lanes);
    }
}

}  // namespace autometa
