// What one slot evaluates in a node, and where its intermediate results stand.
#pragma once

#include <cstdint>
#include <vector>

#include "../conv/conv.h"
#include "../conv/wave.h"
#include "autometa.h"
#include "op_codes.h"

namespace autometa {
namespace mixed {

constexpr int64_t kColumns = 5, kStages = 2;

// One normalisation with what comes before it: nothing (a pool), a convolution, or two.
struct Stage {
    std::vector<Conv> convs;
    Plane in, mid, out;              // shapes only; `mid` lies between two convolutions
    int64_t gamma = -1, beta = -1;   // columns of the slot's parameters
    int64_t z = -1, kept_mid = -1, mean = -1;  // in the kept memory; the variance follows the mean
    std::vector<int64_t> packed, transposed, gradient;  // in the work memory, by convolution
    int64_t moments = -1, image_step = 0;               // per image: kMoments * lanes; backward: 2 * lanes

    bool pool() const { return convs.empty(); }
};

struct Instance {
    int64_t number, state, edge, code, stride;
    std::vector<Stage> stages;  // none for the identity
    int64_t sums = -1;          // backward: per image, sum of g * (z - mean)
    int64_t carried = -1;       // backward: gradient of the first stage's output, where there are two

    bool identity() const { return stages.empty(); }
    const Stage& last() const { return stages.back(); }
};

// Of all slots that follow the same table with the same instances alive.
struct Plan {
    std::vector<Instance> live;
    int64_t kept = 0;            // floats for the backward
    int64_t work = 0;            // floats while the op runs, forward
    int64_t back_work = 0;       // the same, backward
    int64_t gradients = 0;       // floats of all weight gradients, one chunk; they begin at gradients_at
    int64_t gradients_at = 0, base_sums = 0;
    int64_t border_h(int64_t state) const, border_w(int64_t state) const;
};

// Sizes that all slots share.
struct Sizes {
    int64_t lanes, out_height, out_width, chunks;
    int64_t pixels() const { return out_height * out_width; }
};

Sizes sizes_of(const Node& node);

inline float weight_of(const Node& node, int64_t slot, int64_t instance) {
    return node.op_weight[slot * node.instances + instance];
}

inline float edge_weight_of(const Node& node, int64_t slot, int64_t edge) {
    return node.input_weight[slot * node.edges + edge];
}

inline double scale_of(const Node& node, int64_t slot, const Instance& i) {
    return static_cast<double>(weight_of(node, slot, i.number)) * edge_weight_of(node, slot, i.edge);
}

// All slots: their plans and the beginning of each slot's kept memory.
struct Plans {
    Sizes sizes;
    std::vector<Plan> different;
    std::vector<size_t> number_of_slot;
    std::vector<int64_t> kept_at;  // [slots + 1]
    int64_t largest = 0;  // floats of the largest plane with its border
    int64_t forward_scratch = 0, backward_scratch = 0;  // floats per running body

    int64_t batch;

    explicit Plans(const Node& node);
    const Plan& of_slot(int64_t slot) const { return different[number_of_slot[static_cast<size_t>(slot)]]; }
    // Of the slot that needs most: kept, and while the op runs.
    int64_t floats_per_slot() const;
    // Multiplications of a forward, as many for what is no convolution as for a pointwise one.
    int64_t macs() const;
};

inline const float* image(const Node& node, const Sizes& sizes, int64_t state, int64_t slot, int64_t n) {
    const int64_t pixels = node.sizes[2 * state] * node.sizes[2 * state + 1];
    return node.state[state] + (slot * node.batch + n) * pixels * sizes.lanes;
}

inline float drop_of(const Node& node, int64_t slot, int64_t n, const Instance& instance) {
    return node.drop ? node.drop[(slot * node.batch + n) * node.instances + instance.number] : 1.0f;
}

}  // namespace mixed
}  // namespace autometa
