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
    (code == kMaxPool ? kernels().conv.max_pool : kernels().conv.avg_pool)(pool, out);
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

// A stage's convolutions of one image, up to its normalisation.
inline void run_convs(const Stage& stage, const Plane& in, const float* work, float* kept, int64_t n, float* scratch) {
    const Plane out = stage.out.over(z_of(stage, kept, n));
    if (stage.convs.size() == 1) {
        stage.convs[0].forward(&in, work + stage.packed[0], out);
        return;
    }
    const Plane mid = mid_plane(stage, kept, n, scratch);
    mid.clear_border();
    stage.convs[0].forward(&in, work + stage.packed[0], mid);
    stage.convs[1].forward(&mid, work + stage.packed[1], out);
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
