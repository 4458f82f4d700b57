// Steps on planes that the convolutional ops share.
#pragma once

#include "conv.h"
#include "kernels.h"

namespace autometa {

// out = relu(x), or relu of what `from` makes of it, with a border of zeros; x [height, width, lanes] without border.
inline void fill_relu(const float* x, const Affine* from, const Plane& out) {
    const ConvKernels& k = kernels().conv;
    out.clear_border();
    if (out.pad_w == 0) {
        k.affine_relu(x, from, out.base, out.pixels(), out.lanes);
        return;
    }
    for (int64_t r = 0; r < out.height; ++r)
        k.affine_relu(x + r * out.width * out.lanes, from, out.at(r, 0), out.width, out.lanes);
}

// out = c + a * g + b * (z - centre) with a border of zeros.
struct Slopes {
    const float *a, *b, *c, *centre;
};
inline void fill_gradient(const float* g, const float* z, const Slopes& by, const Plane& out) {
    const ConvKernels& k = kernels().conv;
    out.clear_border();
    const int64_t rows = out.pad_w == 0 ? 1 : out.height, pixels = out.pixels() / rows;
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t skip = r * pixels * out.lanes;
        const Map maps[2] = {{g + skip, nullptr, by.a}, {z + skip, by.centre, by.b}};
        k.combine(maps, 2, by.c, out.at(r, 0), pixels, out.lanes);
    }
}

}  // namespace autometa
