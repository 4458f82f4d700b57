#include "conv.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels.h"
#include "memory.h"
#include "winograd.h"

namespace autometa {

namespace {

// Addresses of a product's taps, on the stack where they are as few as usual.
class Addresses {
public:
    explicit Addresses(int64_t most) {
        if (most <= kFew) return;
        many_.resize(static_cast<size_t>(most));
        at_ = many_.data();
    }
    Addresses(const Addresses&) = delete;
    Addresses& operator=(const Addresses&) = delete;
    void add(const float* address) { at_[count_++] = address; }
    void clear() { count_ = 0; }
    const float* const* data() const { return at_; }
    int64_t count() const { return count_; }

private:
    static constexpr int64_t kFew = 49;
    const float* few_[kFew];
    std::vector<const float*> many_;
    const float** at_ = few_;
    int64_t count_ = 0;
};

// Division that rounds down.
int64_t below(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }

// Pixels p, p + stride, .. of an axis.
int64_t every(int64_t size, int64_t stride, int64_t p) { return size > p ? (size - p + stride - 1) / stride : 0; }

int64_t back(int64_t stride, int64_t size, int64_t out_size, int64_t d) {
    int64_t border = 0;
    for (int64_t p = 0; p < stride; ++p) {
        if ((p - d) % stride != 0 || size <= p) continue;
        const int64_t first = below(p - d, stride), last = first + every(size, stride, p) - 1;
        border = std::max({border, -first, last - (out_size - 1)});
    }
    return border;
}

// A 3x3 convolution with borders of 1 to `out`, and the memory that a call needs.
struct Call {
    Call(const Plane& out, int64_t in_lanes)
        : winograd(out.height, out.width, in_lanes, out.lanes, 1, 1),
          memory(winograd.floats() * static_cast<int64_t>(sizeof(float))) {}
    Winograd winograd;
    Block memory;
};

}  // namespace

Plane Plane::over(const float* memory) const {
    Plane plane = *this;
    plane.base = const_cast<float*>(memory) + pad_h * row() + pad_w * lanes;
    return plane;
}

void Plane::clear_border() const {
    const auto clear = [](float* at, int64_t count) { std::memset(at, 0, static_cast<size_t>(count) * sizeof(float)); };
    const int64_t side = pad_w * lanes;
    if (pad_h > 0) {
        clear(at(-pad_h, -pad_w), pad_h * row());
        clear(at(height, -pad_w), pad_h * row());
    }
    if (pad_w > 0)
        for (int64_t r = 0; r < height; ++r) {
            clear(at(r, -pad_w), side);
            clear(at(r, width), side);
        }
}

int64_t Taps::reach_h() const {
    int64_t reach = 0;
    for (const Tap& t : at) reach = std::max({reach, -t.dy, t.dy});
    return reach;
}

int64_t Taps::reach_w() const {
    int64_t reach = 0;
    for (const Tap& t : at) reach = std::max({reach, -t.dx, t.dx});
    return reach;
}

int64_t Taps::back_h(int64_t height, int64_t out_height) const {
    int64_t border = 0;
    for (const Tap& t : at) border = std::max(border, back(stride, height, out_height, t.dy));
    return border;
}

int64_t Taps::back_w(int64_t width, int64_t out_width) const {
    int64_t border = 0;
    for (const Tap& t : at) border = std::max(border, back(stride, width, out_width, t.dx));
    return border;
}

Taps window(int64_t kh, int64_t kw, int64_t dilation, int64_t stride, int64_t top, int64_t left) {
    Taps taps;
    taps.stride = stride;
    for (int64_t i = 0; i < kh; ++i)
        for (int64_t j = 0; j < kw; ++j) taps.at.push_back({i * dilation - top, j * dilation - left});
    return taps;
}

void Conv::pack(const float* params, int64_t lanes, float* to) const {
    std::memset(to, 0, static_cast<size_t>(packed(lanes)) * sizeof(float));
    const int64_t ins = depthwise() ? 1 : depth;
    float* const first = winograd ? Winograd::taps(to, depth * lanes) : to;
    for (const Part& p : parts)
        for (int64_t o = 0; o < p.outs; ++o)
            for (int64_t i = 0; i < ins; ++i) {
                const float* from = params + p.parameter + (o * p.all_ins + p.first_in + i) * p.taps;
                float* at = first + (p.tap * ins + i) * lanes + p.lane + o;
                for (int64_t t = 0; t < p.taps; ++t) at[t * ins * lanes] = from[t];
            }
    if (winograd) Winograd::transform_weights(to, depth * lanes);
}

void Conv::pack_transposed(const float* params, int64_t in_lanes, float* to) const {
    if (depthwise()) return;
    std::memset(to, 0, static_cast<size_t>(transposed(in_lanes)) * sizeof(float));
    float* const first = winograd ? Winograd::taps(to, outs * in_lanes) : to;
    for (const Part& p : parts)
        for (int64_t o = 0; o < p.outs; ++o)
            for (int64_t i = 0; i < depth; ++i) {
                const float* from = params + p.parameter + (o * p.all_ins + p.first_in + i) * p.taps;
                float* at = first + (p.tap * outs + p.lane + o) * in_lanes + i;
                // The gradient of a convolution's input is Winograd's of the turned window.
                for (int64_t t = 0; t < p.taps; ++t) at[t * outs * in_lanes] = from[winograd ? p.taps - 1 - t : t];
            }
    if (winograd) Winograd::transform_weights(to, outs * in_lanes);
}

void Conv::add_gradient(const float* gradient, int64_t lanes, float* dparams) const {
    const int64_t ins = depthwise() ? 1 : depth;
    std::vector<float> of_taps;
    if (winograd) {
        of_taps.resize(static_cast<size_t>(Winograd::kTaps * depth * lanes));
        Winograd::weight_gradient(gradient, depth * lanes, of_taps.data());
        gradient = of_taps.data();
    }
    for (const Part& p : parts)
        for (int64_t o = 0; o < p.outs; ++o)
            for (int64_t i = 0; i < ins; ++i) {
                const float* from = gradient + (p.tap * ins + i) * lanes + p.lane + o;
                float* at = dparams + p.parameter + (o * p.all_ins + p.first_in + i) * p.taps;
                for (int64_t t = 0; t < p.taps; ++t) at[t] += from[t * ins * lanes];
            }
}

void Conv::forward(const Plane* in, const float* packed_weight, const Plane& out) const {
    if (winograd) {
        const Call call(out, in->lanes);
        return call.winograd.convolve(*in, depth, packed_weight, out, false, call.memory.floats());
    }
    const int64_t step = taps.stride * in->lanes, row = taps.stride * in->row();
    Addresses from(all_taps()), weight(all_taps());
    for (int64_t p = 0; p < planes; ++p)
        for (const Tap& t : taps.at) {
            from.add(in[p].at(t.dy, t.dx));
            weight.add(packed_weight + weight.count() * depth * out.lanes);
        }
    const int64_t count = from.count();
    if (depthwise())
        kernels().conv.depthwise({from.data(), packed_weight, count, step, row, out.base, out.lanes, out.row(),
                                  out.height, out.width, out.lanes, false});
    else
        kernels().conv.tap_gemm({from.data(), weight.data(), count, depth, step, row, out.base, out.lanes, out.row(),
                                 out.height, out.width, out.lanes, false});
    if (divided()) mend(in, packed_weight, out);
}

bool Conv::divided() const {
    return std::any_of(parts.begin(), parts.end(), [this](const Part& part) { return part.outs < outs; });
}

const Part& Conv::part_of(int64_t tap) const {
    return *std::find_if(parts.begin(), parts.end(),
                         [tap](const Part& p) { return p.tap <= tap && tap < p.tap + p.taps; });
}

// The product has zeros where a tap does not lead, and NaN times 0 is NaN: outputs that are not numbers are summed up
// again, each from its own taps.
void Conv::mend(const Plane* in, const float* packed_weight, const Plane& out) const {
    for (int64_t r = 0; r < out.height; ++r)
        for (int64_t c = 0; c < out.width; ++c)
            for (int64_t o = 0; o < outs; ++o) {
                float& value = out.at(r, c)[o];
                if (!std::isnan(value)) continue;
                value = 0.0f;
                for (int64_t tap = 0; tap < all_taps(); ++tap) {
                    const Part& part = part_of(tap);
                    if (o < part.lane || o >= part.lane + part.outs) continue;
                    const Tap& t = taps.at[static_cast<size_t>(tap % taps.count())];
                    const float* x = in[tap / taps.count()].at(r * taps.stride + t.dy, c * taps.stride + t.dx);
                    const float* w = packed_weight + tap * depth * out.lanes + o;
                    for (int64_t i = 0; i < depth; ++i) value = std::fma(x[i], w[i * out.lanes], value);
                }
            }
}

void Conv::backward_data(const Plane& grad, const float* packed_weight, const float* transposed_weight, int64_t p,
                         const Plane& dx, bool fresh) const {
    if (winograd) {
        const Call call(dx, grad.lanes);
        return call.winograd.convolve(grad, outs, transposed_weight, dx, !fresh, call.memory.floats());
    }
    const int64_t s = taps.stride;
    const bool add = !fresh || s > 1;
    if (fresh && s > 1)
        for (int64_t r = 0; r < dx.height; ++r)
            std::memset(dx.at(r, 0), 0, static_cast<size_t>(dx.width * dx.lanes) * sizeof(float));
    Addresses from(taps.count()), weight(taps.count());
    std::vector<float> own;
    if (depthwise()) own.reserve(static_cast<size_t>(taps.count() * dx.lanes));
    const bool split = divided();
    std::vector<int64_t> own_taps;
    for (int64_t py = 0; py < s; ++py)
        for (int64_t px = 0; px < s; ++px) {
            const int64_t rows = every(dx.height, s, py), cols = every(dx.width, s, px);
            from.clear(), weight.clear(), own.clear(), own_taps.clear();
            for (int64_t t = 0; t < taps.count(); ++t) {
                const Tap& tap = taps.at[t];
                if ((py - tap.dy) % s != 0 || (px - tap.dx) % s != 0) continue;
                from.add(grad.at(below(py - tap.dy, s), below(px - tap.dx, s)));
                if (split) own_taps.push_back(t);
                if (depthwise())
                    own.insert(own.end(), packed_weight + t * dx.lanes, packed_weight + (t + 1) * dx.lanes);
                else
                    weight.add(transposed_weight + (p * taps.count() + t) * outs * dx.lanes);
            }
            const int64_t count = from.count();
            if (rows == 0 || cols == 0 || count == 0) continue;
            float* out = dx.at(py, px);
            if (split) {  // each tap from the channels that it leads to: a NaN of the others is not its own
                for (int64_t k = 0; k < count; ++k) {
                    const Part& part = part_of(p * taps.count() + own_taps[static_cast<size_t>(k)]);
                    const float* const grads = from.data()[k] + part.lane;
                    const float* const weights = weight.data()[k] + part.lane * dx.lanes;
                    kernels().conv.tap_gemm({&grads, &weights, 1, part.outs, grad.lanes, grad.row(), out, s * dx.lanes,
                                             s * dx.row(), rows, cols, dx.lanes, add || k > 0});
                }
                continue;
            }
            if (depthwise())
                kernels().conv.depthwise({from.data(), own.data(), count, grad.lanes, grad.row(), out, s * dx.lanes,
                                          s * dx.row(), rows, cols, dx.lanes, add});
            else
                kernels().conv.tap_gemm({from.data(), weight.data(), count, outs, grad.lanes, grad.row(), out,
                                         s * dx.lanes, s * dx.row(), rows, cols, dx.lanes, add});
        }
}

void Conv::backward_weight(const Plane& in, const Plane& grad, int64_t p, float* dw) const {
    if (winograd) {
        const Call call(grad, in.lanes);
        return call.winograd.outer(in, depth, grad, dw, call.memory.floats());
    }
    const int64_t step = taps.stride * in.lanes, row = taps.stride * in.row();
    Addresses from(taps.count());
    for (const Tap& t : taps.at) from.add(in.at(t.dy, t.dx));
    if (depthwise()) {
        kernels().conv.depthwise_outer({from.data(), taps.count(), step, row, grad.base, grad.lanes, grad.row(),
                                        grad.height, grad.width, grad.lanes, dw});
        return;
    }
    for (int64_t t = 0; t < taps.count(); ++t)
        kernels().conv.tap_outer({from.data()[t], depth, step, row, grad.base, grad.lanes, grad.row(),
                                  grad.height, grad.width, grad.lanes, dw + (p * taps.count() + t) * depth * grad.lanes});
}

}  // namespace autometa
