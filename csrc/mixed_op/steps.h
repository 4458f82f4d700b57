// Steps on one image that forward and backward share.
#pragma once

#include "../conv/batch_norm.h"
#include "../conv/planes.h"
#include "plan.h"

namespace autometa {
namespace mixed {

// Scratch memory of one body, handed out piece by piece.
class Pieces {
public:
    explicit Pieces(float* memory) : at_(memory) {}
    float* take(int64_t floats) {
        float* piece = at_;
        at_ += aligned(floats);
        return piece;
    }

private:
    float* at_;
};

inline Pool pool_of(const Node& node, const Sizes& sizes, const Instance& i, const float* x, float* buffer) {
    return {x, node.sizes[2 * i.state], node.sizes[2 * i.state + 1], i.stride, sizes.lanes, buffer};
}

inline void run_pool(const Pool& pool, int64_t code, float* out) {
    (kind_of(code) == Kind::maximum ? kernels().conv.max_pool : kernels().conv.avg_pool)(pool, out);
}

inline Plane relu_plane(const Node& node, const Sizes& sizes, const Plan& plan, int64_t state, float* memory) {
    Plane plane{nullptr,
                node.sizes[2 * state],
                node.sizes[2 * state + 1],
                plan.border_h(state),
                plan.border_w(state),
                sizes.lanes};
    return plane.over(memory);
}

inline bool reads_relu(const Plan& plan, int64_t state) {
    for (const Instance& i : plan.live)
        if (i.state == state && !i.identity() && !i.stages[0].pool()) return true;
    return false;
}

// Where the result between two convolutions stands: kept, or in `scratch` and computed again.
inline Plane mid_plane(const Stage& stage, float* kept, int64_t n, float* scratch) {
    if (stage.kept_mid < 0) return stage.mid.over(scratch);
    return stage.mid.over(kept + stage.kept_mid + n * stage.mid.floats());
}

inline float* z_of(const Stage& stage, float* kept, int64_t n) { return kept + stage.z + n * stage.out.floats(); }

// Rows of the result between a depthwise convolution and its product, for rows r.. of the output.
inline Plane band_of_mid(const Stage& stage, const Plane& in, const float* work, int64_t r, int64_t count,
                         float* scratch) {
    const Plane band = Plane{nullptr, count, stage.mid.width, 0, 0, stage.mid.lanes}.over(scratch);
    const int64_t stride = stage.convs[0].taps.stride;
    stage.convs[0].forward(in.rows(r * stride, in.height - r * stride), work + stage.packed[0], band);
    return band;
}

// A stage's convolutions of one image, up to its normalisation; moments (null: none) of the result.
inline void run_convs(const Stage& stage, const Plane& in, const float* work, float* kept, int64_t n, float* scratch,
                      float* moments) {
    const Plane out = stage.out.over(z_of(stage, kept, n));
    const Conv& last = stage.convs.back();
    const float* packed = work + stage.packed.back();
    const bool two = stage.convs.size() == 2, whole = two && stage.kept_mid >= 0;
    Plane before = in;
    if (whole) {
        before = mid_plane(stage, kept, n, scratch);
        before.clear_border();
        stage.convs[0].forward(in, work + stage.packed[0], before);
    }
    each_band(out, [&](int64_t r, int64_t count) {
        const Plane band = out.rows(r, count);
        if (two && !whole) {
            last.forward(band_of_mid(stage, in, work, r, count, scratch), packed, band);
        } else {
            const int64_t first = r * last.taps.stride;
            last.forward(before.rows(first, before.height - first), packed, band);
        }
        if (moments == nullptr) return;
        if (r == 0) begin_moments(band.base, band.lanes, moments);
        add_moments(band.base, band.pixels(), band.lanes, moments);
    });
}

inline Normalisation normalisation(const Node& node, const Sizes& sizes, const Stage& stage, const float* kept,
                                   int64_t slot) {
    const float* params = node.params + slot * node.params_row;
    const float* mean = kept + stage.mean;
    return {mean,
            mean + sizes.lanes,
            stage.gamma < 0 ? nullptr : params + stage.gamma,
            stage.beta < 0 ? nullptr : params + stage.beta,
            node.eps,
            node.channels,
            sizes.lanes};
}

}  // namespace mixed
}  // namespace autometa
