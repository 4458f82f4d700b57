// Inner loops of the convolutional ops, once per instruction set. Feature maps are channels-last with their
// channels padded to `lanes`, a multiple of 8 (of 16 above 8); what padding lanes hold never reaches real ones.
// Steps and rows are distances in floats.
#pragma once

#include <cstdint>

namespace autometa {

// out[r][m][lane] (+)= sum over taps t, k < depth of in[t][r * in_row + m * in_step + k] * weight[t][k * lanes + lane].
struct TapGemm {
    const float* const* in;
    const float* const* weight;
    int64_t taps, depth, in_step, in_row;
    float* out;
    int64_t out_step, out_row, rows, cols, lanes;
    bool accumulate;
};

// out[k * lanes + lane] += sum over r, m of in[r * in_row + m * in_step + k] * grad[r * grad_row + m * grad_step + lane].
struct TapOuter {
    const float* in;
    int64_t depth, in_step, in_row;
    const float* grad;
    int64_t grad_step, grad_row, rows, cols, lanes;
    float* out;
};

// out[r][m][lane] (+)= sum over taps of in[t][r][m][lane] * weight[t * lanes + lane].
struct Depthwise {
    const float* const* in;
    const float* weight;
    int64_t taps, in_step, in_row;
    float* out;
    int64_t out_step, out_row, rows, cols, lanes;
    bool accumulate;
};

// out[t * lanes + lane] += sum over r, m of in[t][r][m][lane] * grad[r][m][lane].
struct DepthwiseOuter {
    const float* const* in;
    int64_t taps, in_step, in_row;
    const float* grad;
    int64_t grad_step, grad_row, rows, cols, lanes;
    float* out;
};

// A pool 3x3 of padding 1 over one image; `buffer` holds 2 * height * out_width pixels (max, backward) or a row.
struct Pool {
    const float* x;
    int64_t height, width, stride, lanes;
    float* buffer;
};

// By lane; centre may be null (0).
struct Affine {
    const float *centre, *a, *b;
};
struct Map {
    const float *x, *centre, *a;
};

// One image of y = max(floor, pool(a * (z - centre) + b)): windows of 1 or 2 pixels a side, cut off where the map ends.
struct NormPool {
    const float *z, *centre, *a, *b;
    float floor;  // 0 or minus infinity
    int64_t window, height, width, out_height, out_width, lanes;
    // Of the image that decides which pixel of a window is the greatest and whether that is above the floor, null where
    // this one decides for itself: its z, centre, a and b.
    const float *gate_z = nullptr, *gate_centre = nullptr, *gate_a = nullptr, *gate_b = nullptr;
};

// dz = of_g * (the gradient that reaches a pixel - mean) + of_z * (z - centre), by lane; follows: whether the statistics
// follow z, of_z is 0 where not.
struct Slopes {
    const float *of_g, *of_z, *mean;
    bool follows;
};

// out[out_row[c] + r] = in[in_row[r] + c] for r < rows, c < cols.
struct Transpose {
    const float* in;
    const int64_t* in_row;
    float* out;
    const int64_t* out_row;
    int64_t rows, cols;
};

// out[o][m * out_step + lane] (+)= sum over i of a fixed coefficient * in[i][m * in_step + lane], of Winograd's F(4, 3).
struct Transform {
    enum Kind {
        kInput,           // 6 neighbours to 6 points
        kOutput,          // 6 points to 4 neighbours
        kGradient,        // of outputs: 4 to 6
        kWeight,          // 3 taps to 6 points
        kWeightGradient,  // 6 points to 3 taps
    };
    Kind kind;
    const float* in[6];
    float* out[6];
    int64_t in_step, out_step, count, lanes;
    bool add;  // of kOutput alone
};

struct ConvKernels {
    void (*tap_gemm)(const TapGemm&);
    void (*tap_outer)(const TapOuter&);
    void (*depthwise)(const Depthwise&);
    void (*depthwise_outer)(const DepthwiseOuter&);
    void (*max_pool)(const Pool&, float* out);
    void (*avg_pool)(const Pool&, float* out);
    void (*max_pool_backward)(const Pool&, const float* grad, float* dx);  // adds
    void (*avg_pool_backward)(const Pool&, const float* grad, float* dx);  // adds
    // out[m] = relu(a * (x[m] - centre) + b), by lane; without `from` relu(x[m]).
    void (*affine_relu)(const float* x, const Affine* from, float* out, int64_t pixels, int64_t lanes);
    // out[m] = b + sum over maps of a * (x[m] - centre); b null: out[m] += the sum.
    void (*combine)(const Map* maps, int64_t count, const float* b, float* out, int64_t pixels, int64_t lanes);
    // out[m] += a * x[m], 0 where gate[m] <= 0; a may be null (1), gate may be null (everywhere).
    void (*add_gated)(const float* x, const float* a, const float* gate, float* out, int64_t pixels, int64_t lanes);
    // out[m] = x[m], 0 where gate[m] <= 0.
    void (*gated)(const float* x, const float* gate, float* out, int64_t pixels, int64_t lanes);
    // sum += x - pivot, squares += (x - pivot)^2, by lane.
    void (*moments)(const float* x, const float* pivot, float* sum, float* squares, int64_t pixels, int64_t lanes);
    // sum += g (where not null), product += g * (x - pivot), by lane.
    void (*products)(const float* g, const float* x, const float* pivot, float* sum, float* product, int64_t pixels,
                     int64_t lanes);
    void (*norm_pool)(const NormPool&, float* y);
    // sum += g, product += g * (z - centre) over the pixels that a gradient reaches, by lane.
    void (*norm_pool_sums)(const NormPool&, const float* gy, float* sum, float* product);
    void (*norm_pool_backward)(const NormPool&, const float* gy, const Slopes&, float* dz, int64_t dz_row);
    void (*transpose)(const Transpose&);
    void (*transform)(const Transform&);
};

}  // namespace autometa
