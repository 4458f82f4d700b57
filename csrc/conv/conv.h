// Convolutions of one image by taps, for any stride, dilation and padding: forward, and both gradients.
#pragma once

#include <cstdint>
#include <vector>

namespace autometa {

constexpr int64_t kAlignment = 16;  // of parameters in a row of the arena, in floats

inline int64_t aligned(int64_t size) { return (size + kAlignment - 1) / kAlignment * kAlignment; }

// A feature map of one image with a border; `base` is its pixel (0, 0), which the border precedes.
struct Plane {
    float* base = nullptr;
    int64_t height = 0, width = 0, pad_h = 0, pad_w = 0, lanes = 0;

    int64_t row() const { return (width + 2 * pad_w) * lanes; }
    int64_t floats() const { return (height + 2 * pad_h) * row(); }
    int64_t pixels() const { return height * width; }
    float* at(int64_t r, int64_t c) const { return base + r * row() + c * lanes; }
    // Rows r .. r + count - 1 alone; what lies above and below is still there.
    Plane rows(int64_t r, int64_t count) const {
        Plane part = *this;
        part.base = at(r, 0);
        part.height = count;
        return part;
    }
    // The same shape over memory that begins with the border.
    Plane over(const float* memory) const;
    void clear_border() const;
};

struct Tap {
    int64_t dy, dx;
};

// out[r][c] = sum over taps of in[r * stride + dy][c * stride + dx] * weight.
struct Taps {
    std::vector<Tap> at;
    int64_t stride = 1;

    int64_t count() const { return static_cast<int64_t>(at.size()); }
    int64_t reach_h() const;  // border that the input needs
    int64_t reach_w() const;
    // Border that the output's gradient needs for the gradient of an input of this size.
    int64_t back_h(int64_t height, int64_t out_height) const;
    int64_t back_w(int64_t width, int64_t out_width) const;
};

// A window kh x kw, its taps `dilation` apart, beginning `top` above and `left` before the pixel.
Taps window(int64_t kh, int64_t kw, int64_t dilation, int64_t stride, int64_t top, int64_t left);

// A piece of a convolution's weights: `outs` output channels from lane `lane` on, of the `all_ins` input channels
// those from first_in on, for `taps` taps from tap `tap` on; its values [outs][all_ins][taps] begin at `parameter`.
struct Part {
    int64_t parameter, outs, all_ins, first_in, taps, lane, tap;
};

// A convolution of several input planes of `depth` channels each (planes outermost in `packed`).
struct Conv {
    Taps taps;
    int64_t depth = 0;  // input channels of a plane; 0 marks a depthwise convolution
    int64_t outs = 0;   // output channels
    int64_t planes = 1;
    std::vector<Part> parts;
    bool winograd = false;  // 3x3 by Winograd's F(4, 3): weights and their gradients have 18 parts, see winograd.h

    bool depthwise() const { return depth == 0; }
    int64_t all_taps() const { return winograd ? 18 : planes * taps.count(); }
    // Floats of the packed weights, [planes * taps][depth][lanes], and of their transposes [..][outs][in_lanes].
    int64_t packed(int64_t lanes) const { return all_taps() * (depthwise() ? 1 : depth) * lanes; }
    int64_t transposed(int64_t in_lanes) const { return depthwise() ? 0 : all_taps() * outs * in_lanes; }

    void pack(const float* params, int64_t lanes, float* to) const;
    void pack_transposed(const float* params, int64_t in_lanes, float* to) const;
    // Add gradients in the packed form to those in the form of the parameters.
    void add_gradient(const float* packed_gradient, int64_t lanes, float* dparams) const;

    void forward(const Plane* in, const float* packed_weight, const Plane& out) const;
    void forward(const Plane& in, const float* packed_weight, const Plane& out) const {
        forward(&in, packed_weight, out);
    }
    // dx of input plane p, added or (fresh) overwritten; `grad` has the border, zeroed, that Taps::back_h and back_w
    // ask for.
    void backward_data(const Plane& grad, const float* packed_weight, const float* transposed_weight, int64_t p,
                       const Plane& dx, bool fresh) const;
    // dw (packed) of input plane p +=.
    void backward_weight(const Plane& in, const Plane& grad, int64_t p, float* dw) const;

private:
    // Whether some tap leads to a part of the output channels only, as in a factorised reduction.
    bool divided() const;
    const Part& part_of(int64_t tap) const;
    void mend(const Plane* in, const float* packed_weight, const Plane& out) const;
};

}  // namespace autometa
