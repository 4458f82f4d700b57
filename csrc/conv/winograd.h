// Convolutions 3x3 of stride 1 by Winograd's F(4, 3) along the rows: six products give four outputs.
#pragma once

#include <cstdint>

#include "conv.h"
#include "conv_kernels.h"

namespace autometa {

// One image goes through in bands of rows; `memory` holds a band's transforms, floats() of them. Planes need no border:
// what lies outside is 0. Of planes the channels beyond `depth` are never more than transformed.
class Winograd {
public:
    // Whether it is faster than sums, for maps of this size with at least so many channels on either side.
    static bool gains(int64_t channels, int64_t height, int64_t width);

    // A convolution of `in_lanes` lanes to `out_lanes` of this size, whose window begins `top` above and `left` before
    // the pixel.
    Winograd(int64_t height, int64_t width, int64_t in_lanes, int64_t out_lanes, int64_t top, int64_t left);

    static constexpr int64_t kTile = 4, kPoints = 6, kRows = 3;

    // Of packed weights (window row, tap, input channel, lane), `size` floats a tap: 18 instead of 9 parts, by window
    // row and point. The nine stand at the end of the eighteen.
    static constexpr int64_t kParts = kRows * kPoints, kTaps = 9;
    static float* taps(float* parts, int64_t size) { return parts + (kParts - kTaps) * size; }
    static void transform_weights(float* parts, int64_t size);
    // The reverse for gradients: nine parts from eighteen.
    static void weight_gradient(const float* parts, int64_t size, float* taps);

    int64_t floats() const;
    // out (+)=
    void convolve(const Plane& in, int64_t depth, const float* parts, const Plane& out, bool add, float* memory) const;
    // parts +=: gradients of the transformed weights.
    void outer(const Plane& in, int64_t depth, const Plane& grad, float* parts, float* memory) const;

private:
    // Planes by point of rows first .. first + rows - 1 of a plane, whose tiles begin `left` before column 0.
    void spread(Transform::Kind kind, const Plane& from, int64_t first, int64_t rows, int64_t left, float* to,
                float* zeros) const;
    int64_t plane(int64_t rows, int64_t lanes) const { return rows * tiles_ * lanes; }

    int64_t height_, in_lanes_, out_lanes_, top_, left_, tiles_, band_;
};

}  // namespace autometa
