// The shapes of a conv block's products, and where its intermediate results stand.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "../conv/batch_norm.h"
#include "../conv/conv.h"
#include "../conv/wave.h"
#include "../conv/winograd.h"
#include "autometa.h"
#include "kernels.h"

namespace autometa {
namespace block {

// All slots share it. The convolution is a product with rows of a bordered plane, a kernel row at a time; maps with
// short rows are gathered into patches first, of `group` images at once. Windows of 3x3 that move by one pixel, over
// enough channels, are Winograd's: chosen by the block's shape alone.
struct Plan {
    // again: whether the backward computes the block's input again, from what the block before keeps.
    explicit Plan(const ConvBlock& block, bool again = false);

    int64_t lanes, in_lanes, row_depth, depth;  // depth: inputs of one output, kernel * kernel * c_in
    int64_t pixels, chunks;
    int64_t macs(const ConvBlock& block) const { return block.slots * block.batch * pixels * depth * lanes; }
    int64_t group = 0;  // images per product, 0 where planes are read directly
    // Shapes. Pixels of `in` are c_in floats apart, and dz has a border, where planes are read directly; Winograd's have
    // none, and pixels of in_lanes.
    Plane in, dz;
    Conv conv;
    std::optional<Winograd> forth, back;  // the convolution and the gradient of its input
    bool copied = true;                   // whether Winograd's input is not read where it stands
    int64_t weight = 0, bias = -1, gamma = -1, beta = -1;  // columns of the parameters
    std::vector<int64_t> of_outputs, of_inputs;            // rows of the weights: parameters, packed

    bool in_y = false;  // the convolution stands in y until it is normalised; the backward takes it from there

    // Offsets: kept for the backward, per slot; work memory per slot, forward and backward; scratch per running body.
    int64_t z, mean, kept;
    int64_t packed, moments, a, b, gate, work;  // packed: weights as the products read them
    int64_t transposed, sums, back_a, back_b, back_gate, slopes, before, gradients, gradient, back_work;
    int64_t plane, patches, dz_at, z_again, x_again, transforms, parts, scratch;

    bool patched() const { return group > 0; }
    void pack(const float* params, float* to) const;
    void pack_transposed(const ConvBlock& block, const float* params, float* to) const;
    void unpack_gradient(const float* packed_gradient, float* dparams) const;

private:
    void choose_winograd(const ConvBlock& block);
    void place(const ConvBlock& block, bool again);
    int64_t packed_floats() const { return forth ? Winograd::kParts * conv.depth * lanes : depth * lanes; }
    int64_t transposed_floats() const {
        return (back ? Winograd::kParts : conv.taps.count()) * conv.outs * in_lanes;
    }
};

// The block whose output is this one's input, and what it keeps.
struct Before {
    const ConvBlock& block;
    const Plan& plan;
    const float* saved;
};

// All slots of a block, `team.wave` at most, by one team. y is read where it tells the convolution (in_y) alone; with
// `before` the block's x is not read.
void forward(const ConvBlock& block, const Plan& plan, float* y, float* saved, float* statistics, const Team& team);
void backward(const ConvBlock& block, const Plan& plan, const float* saved, const float* y, const Before* before,
              const float* gy, float* dx, float* dparams, const Team& team);

// The pass over an image's z; `floor` is that of the ReLU.
NormPool norm_pool_of(const ConvBlock& block, const Plan& plan, const float* z, const float* kept,
                      const float* a, const float* b);

// The pass over image n of a slot, whose decisions are those of block.gate_saved where that is there; gate: a and b of
// its normalised output, as `gate_coefficients` writes them.
void gate_coefficients(const ConvBlock& block, const Plan& plan, int64_t slot, float* gate);
NormPool gated(NormPool pass, const ConvBlock& block, const Plan& plan, int64_t slot, int64_t n, const float* gate);

// Coefficients of the normalised output from the kept mean and variance.
Normalisation normalisation(const ConvBlock& block, const Plan& plan, const float* params, const float* kept);
void coefficients(const ConvBlock& block, const Plan& plan, const float* params, const float* kept, float* a, float* b);

// Image n of a slot, and an image with these strides (channel, row, column), as the products read it: a bordered plane,
// or patches.
inline const float* image_of(const ConvBlock& block, int64_t slot, int64_t n) {
    return block.x + slot * block.x_step[0] + n * block.x_step[1];
}
Plane read_plane(const ConvBlock& block, const Plan& plan, const float* image, float* memory);
void read_patches(const ConvBlock& block, const Plan& plan, const Plane& in, float* patches);

// The convolution of images first .. last - 1, at most a product's group, to z; image(n) gives their addresses.
using Images = std::function<const float*(int64_t)>;
void convolve(const ConvBlock& block, const Plan& plan, const Images& image, Range images, const float* packed,
              float* memory, float* z);

}  // namespace block
}  // namespace autometa
