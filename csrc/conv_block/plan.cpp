#include "plan.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "activation.h"
#include "sizes.h"

namespace autometa {
namespace block {

namespace {

// Rows shorter than this leave most registers of the product empty (measured: 4 gains 1.05 to 1.4, 5 loses).
constexpr int64_t kShortRow = 5;
// Pixels per product of patches: enough to use a weight often, few enough to stay in the cache.
constexpr int64_t kPatchPixels = 112;

void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(std::string("conv_block: ") + what);
}

void check(const ConvBlock& c) {
    require(c.c_in > 0 && c.c_out > 0 && c.kernel > 0 && c.stride > 0, "sizes must be positive");
    elements("conv_block", {c.c_out, c.c_in, c.kernel, c.kernel});
    elements("conv_block", {c.slots, c.batch, c.height, c.width, padded_channels(std::max(c.c_in, c.c_out))});
    require(c.stride <= std::max(c.height, c.width) + c.kernel, "the stride is larger than the images");
    require(c.top >= 0 && c.left >= 0 && c.top < c.kernel && c.left < c.kernel, "padding must be below the kernel");
    require(c.conv_height > 0 && c.conv_width > 0 && c.out_height > 0 && c.out_width > 0,
            "the images are too small for this block");
    const auto fits = [&](int64_t size, int64_t out, int64_t before) {
        return (out - 1) * c.stride + c.kernel - before <= size + std::max(before, c.kernel - 1 - before);
    };
    require(fits(c.height, c.conv_height, c.top) && fits(c.width, c.conv_width, c.left),
            "the output does not fit the images");
    const auto halves = [&](int64_t size, int64_t out) {
        return c.pool ? out == size / 2 || out == (size + 1) / 2 : out == size;
    };
    require(halves(c.conv_height, c.out_height) && halves(c.conv_width, c.out_width), "the pool does not fit");
}

}  // namespace

Plan::Plan(const ConvBlock& c, bool again) {
    check(c);
    const int64_t taps = c.kernel * c.kernel;
    lanes = padded_channels(c.c_out), in_lanes = padded_channels(c.c_in);
    row_depth = c.kernel * c.c_in, depth = taps * c.c_in;
    pixels = c.conv_height * c.conv_width;
    chunks = std::max(chunks_of(c.batch, pixels), chunks_by_work(c.batch, c.batch * pixels * depth * lanes));
    in_y = c.norm && !c.relu && !c.pool;
    if (c.conv_width < kShortRow && pixels <= 2 * kPatchPixels && c.c_in >= 8)
        group = std::max<int64_t>(1, std::min(kPatchPixels / pixels, (c.batch + chunks - 1) / chunks));

    int64_t at = 0;
    const auto take = [&](int64_t size) { return std::exchange(at, at + aligned(size)); };
    weight = take(c.c_out * depth);
    if (c.bias) bias = take(c.c_out);
    if (c.norm) gamma = take(c.c_out), beta = take(c.c_out);
    require(at <= c.params_width, "too few parameters");

    conv.taps = window(c.kernel, c.kernel, 1, c.stride, c.top, c.left);
    conv.depth = c.c_in, conv.outs = c.c_out;
    in = {nullptr, c.height, c.width, conv.taps.reach_h(), conv.taps.reach_w(), c.c_in};
    dz = {nullptr, c.conv_height, c.conv_width, 0, 0, lanes};
    choose_winograd(c);
    if (!patched() && !forth) {
        dz.pad_h = conv.taps.back_h(c.height, c.conv_height);
        dz.pad_w = conv.taps.back_w(c.width, c.conv_width);
    }
    for (int64_t o = 0; o < c.c_out; ++o) of_outputs.push_back(o * depth);
    for (int64_t i = 0; i < c.c_in; ++i)
        for (int64_t t = 0; t < taps; ++t) of_inputs.push_back((t * c.c_in + i) * lanes);
    place(c, again);
}

void Plan::choose_winograd(const ConvBlock& c) {
    if (patched() || c.kernel != Winograd::kRows || c.stride != 1 ||
        !Winograd::gains(std::min(c.c_in, c.c_out), c.conv_height, c.conv_width))
        return;
    forth.emplace(c.conv_height, c.conv_width, in_lanes, lanes, c.top, c.left);
    back.emplace(c.height, c.width, lanes, in_lanes, c.kernel - 1 - c.top, c.kernel - 1 - c.left);
    in = {nullptr, c.height, c.width, 0, 0, in_lanes};
    copied = c.c_in != in_lanes || c.x_step[2] != 1 || c.x_step[3] != in.row() || c.x_step[4] != in_lanes;
}

void Plan::place(const ConvBlock& c, bool again) {
    Layout kept_memory, memory, behind, body;
    z = in_y ? -1 : kept_memory.take(c.batch * pixels * lanes);
    mean = kept_memory.take(2 * lanes);
    kept = kept_memory.floats();

    packed = memory.take(packed_floats());
    moments = memory.take(c.batch * kMoments * lanes);
    a = memory.take(lanes), b = memory.take(lanes);
    gate = memory.take(2 * lanes);
    work = memory.floats();

    if (in_y) behind.take(packed + aligned(packed_floats()));  // where the forward has it
    transposed = behind.take(transposed_floats());
    sums = behind.take(c.batch * 2 * lanes);
    back_a = behind.take(lanes), back_b = behind.take(lanes);
    back_gate = behind.take(2 * lanes);
    slopes = behind.take(3 * lanes);
    before = behind.take(again ? 4 * in_lanes : 0);
    gradient = aligned(depth * lanes);
    gradients = behind.take(chunks * gradient);
    back_work = behind.floats();

    plane = body.take(forth && !copied ? 0 : in.floats());
    patches = body.take(group * pixels * c.kernel * c.kernel * in_lanes);  // and then their gradients
    dz_at = body.take(std::max<int64_t>(group, 1) * dz.floats());
    z_again = body.take(in_y ? std::max<int64_t>(group, 1) * pixels * lanes : 0);
    x_again = body.take(again ? c.height * c.width * in_lanes : 0);
    transforms = body.take(forth ? std::max(forth->floats(), back->floats()) : 0);
    parts = body.take(forth ? packed_floats() : 0);
    scratch = body.floats();
}

void Plan::pack(const float* params, float* to) const {
    const int64_t outs = static_cast<int64_t>(of_outputs.size()), part = conv.depth * lanes;
    float* taps = forth ? Winograd::taps(to, part) : to;
    if (outs != lanes) std::memset(taps, 0, static_cast<size_t>(depth * lanes) * sizeof(float));
    kernels().conv.transpose({params + weight, of_outputs.data(), taps, of_inputs.data(), outs, depth});
    if (forth) Winograd::transform_weights(to, part);
}

// By tap, output, input for planes, the last tap first for Winograd's; by output, tap, input for patches.
void Plan::pack_transposed(const ConvBlock& c, const float* params, float* to) const {
    const int64_t taps = c.kernel * c.kernel, part = c.c_out * in_lanes;
    float* first = back ? Winograd::taps(to, part) : to;
    if (in_lanes != c.c_in) std::memset(first, 0, static_cast<size_t>(taps * part) * sizeof(float));
    std::vector<int64_t> from, into;
    for (int64_t i = 0; i < c.c_in; ++i) from.push_back(i * taps);
    for (int64_t t = 0; t < taps; ++t) into.push_back((back ? taps - 1 - t : t) * in_lanes * (patched() ? 1 : c.c_out));
    for (int64_t o = 0; o < c.c_out; ++o)
        kernels().conv.transpose({params + weight + o * depth, from.data(),
                                  first + o * in_lanes * (patched() ? taps : 1), into.data(), c.c_in, taps});
    if (back) Winograd::transform_weights(to, part);
}

void Plan::unpack_gradient(const float* packed_gradient, float* dparams) const {
    kernels().conv.transpose({packed_gradient, of_inputs.data(), dparams + weight, of_outputs.data(), depth,
                              static_cast<int64_t>(of_outputs.size())});
}

NormPool norm_pool_of(const ConvBlock& c, const Plan& plan, const float* z, const float* kept, const float* a,
                      const float* b) {
    const float floor = c.relu ? 0.0f : -std::numeric_limits<float>::infinity();
    const float* centre = c.norm ? kept + plan.mean : nullptr;
    return {z, centre, a, b, floor, c.pool ? 2 : 1, c.conv_height, c.conv_width, c.out_height, c.out_width, plan.lanes};
}

void gate_coefficients(const ConvBlock& c, const Plan& plan, int64_t slot, float* gate) {
    if (!c.gate_saved || plan.in_y) return;
    coefficients(c, plan, c.gate_params + slot * c.gate_row, c.gate_saved + slot * plan.kept, gate, gate + plan.lanes);
}

NormPool gated(NormPool pass, const ConvBlock& c, const Plan& plan, int64_t slot, int64_t n, const float* gate) {
    if (!c.gate_saved || plan.in_y) return pass;  // what stands in y has no ReLU and no pool
    const float* kept = c.gate_saved + slot * plan.kept;
    pass.gate_z = kept + plan.z + n * plan.pixels * plan.lanes;
    pass.gate_centre = c.norm ? kept + plan.mean : nullptr;
    pass.gate_a = gate, pass.gate_b = gate + plan.lanes;
    return pass;
}

Normalisation normalisation(const ConvBlock& c, const Plan& plan, const float* params, const float* kept) {
    const float* mean = kept + plan.mean;
    return {mean, mean + plan.lanes, params + plan.gamma, params + plan.beta, c.eps, c.c_out, plan.lanes};
}

void coefficients(const ConvBlock& c, const Plan& plan, const float* params, const float* kept, float* a, float* b) {
    if (c.norm) {
        normalisation(c, plan, params, kept).forward(1.0, a, b);
        return;
    }
    for (int64_t i = 0; i < plan.lanes; ++i) {
        a[i] = i < c.c_out ? 1.0f : 0.0f;
        b[i] = c.bias && i < c.c_out ? params[plan.bias + i] : 0.0f;
    }
}

Plane read_plane(const ConvBlock& c, const Plan& plan, const float* x, float* memory) {
    if (plan.forth && !plan.copied) return plan.in.over(x);
    const Plane plane = plan.in.over(memory + plan.plane);
    const int64_t by_channel = c.x_step[2], by_row = c.x_step[3], by_column = c.x_step[4], depth = c.c_in;
    plane.clear_border();
    if (by_column == depth && plane.lanes == depth && (by_channel == 1 || depth == 1)) {
        const size_t bytes = static_cast<size_t>(c.width * depth) * sizeof(float);
        for (int64_t r = 0; r < c.height; ++r) std::memcpy(plane.at(r, 0), x + r * by_row, bytes);
        return plane;
    }
    if (by_channel == 1) {
        const size_t bytes = static_cast<size_t>(depth) * sizeof(float);
        for (int64_t r = 0; r < c.height; ++r)
            for (int64_t w = 0; w < c.width; ++w)
                std::memcpy(plane.at(r, w), x + r * by_row + w * by_column, bytes);
        return plane;
    }
    for (int64_t r = 0; r < c.height; ++r)
        for (int64_t i = 0; i < depth; ++i) {
            const float* from = x + i * by_channel + r * by_row;
            float* to = plane.at(r, 0) + i;
            for (int64_t w = 0; w < c.width; ++w) to[w * plane.lanes] = from[w * by_column];
        }
    return plane;
}

void read_patches(const ConvBlock& c, const Plan& plan, const Plane& in, float* patches) {
    const size_t bytes = static_cast<size_t>(plan.row_depth) * sizeof(float);
    for (int64_t r = 0; r < c.conv_height; ++r)
        for (int64_t w = 0; w < c.conv_width; ++w)
            for (int64_t i = 0; i < c.kernel; ++i, patches += plan.row_depth)
                std::memcpy(patches, in.at(r * c.stride + i - c.top, w * c.stride - c.left), bytes);
}

void convolve(const ConvBlock& c, const Plan& plan, const Images& image, Range images, const float* packed,
              float* memory, float* z) {
    if (plan.patched()) {
        float* patches = memory + plan.patches;
        for (int64_t n = images.first; n < images.last; ++n)
            read_patches(c, plan, read_plane(c, plan, image(n), memory),
                         patches + (n - images.first) * plan.pixels * plan.depth);
        const float *from[1] = {patches}, *weight[1] = {packed};
        kernels().conv.tap_gemm({from, weight, 1, plan.depth, plan.depth, 0, z, plan.lanes, 0, 1,
                                 (images.last - images.first) * plan.pixels, plan.lanes, false});
        return;
    }
    const Plane in = read_plane(c, plan, image(images.first), memory);
    if (plan.forth) {
        const Plane out{z, c.conv_height, c.conv_width, 0, 0, plan.lanes};
        return plan.forth->convolve(in, c.c_in, packed, out, false, memory + plan.transforms);
    }
    std::vector<const float*> from, weight;
    for (int64_t i = 0; i < c.kernel; ++i) {
        from.push_back(in.at(i - c.top, -c.left));
        weight.push_back(packed + i * plan.row_depth * plan.lanes);
    }
    kernels().conv.tap_gemm({from.data(), weight.data(), c.kernel, plan.row_depth, c.stride * in.lanes,
                             c.stride * in.row(), z, plan.lanes, c.conv_width * plan.lanes, c.conv_height,
                             c.conv_width, plan.lanes, false});
}

}  // namespace block

int64_t conv_block_saved(const ConvBlock& block) { return block::Plan(block).kept * block.slots; }

}  // namespace autometa
