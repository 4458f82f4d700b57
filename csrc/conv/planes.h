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

// Rows that stay in the nearest cache while several steps work on them.
inline int64_t band_of(const Plane& plane) {
    constexpr int64_t kPixels = 224;
    return plane.width < kPixels ? kPixels / plane.width : 1;
}

// Call body(first row, rows) for the bands of a plane.
template <class Body>
void each_band(const Plane& plane, const Body& body) {
    const int64_t band = band_of(plane);
    for (int64_t r = 0; r < plane.height; r += band) body(r, plane.height - r < band ? plane.height - r : band);
}

// out = shift + what the two maps give, with a border of zeros. z.x may be null, where z has no part in it.
inline void fill_gradient(const Map& g, const Map& z, const float* shift, const Plane& out) {
    const ConvKernels& k = kernels().conv;
    out.clear_border();
    const int64_t rows = out.pad_w == 0 ? 1 : out.height, pixels = out.pixels() / rows;
    for (int64_t r = 0; r < rows; ++r) {
        const int64_t skip = r * pixels * out.lanes;
        const Map maps[2] = {{g.x + skip, g.centre, g.a}, {z.x ? z.x + skip : nullptr, z.centre, z.a}};
        k.combine(maps, z.x ? 2 : 1, shift, out.at(r, 0), pixels, out.lanes);
    }
}

}  // namespace autometa
