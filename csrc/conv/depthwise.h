// Depthwise convolutions by taps, and the gradients of their weights.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

constexpr int kDepthwiseTile = 8;

template <class V, int MR>
inline void depthwise_tile(const Depthwise& d, int64_t offset, int64_t lane, float* out) {
    V sum[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) sum[m] = d.accumulate ? load<V>(out + m * d.out_step) : zero<V>();
    for (int64_t t = 0; t < d.taps; ++t) {
        const V w = load<V>(d.weight + t * d.lanes + lane);
        const float* x = d.in[t] + offset + lane;
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) sum[m] = fma(load<V>(x + m * d.in_step), w, sum[m]);
    }
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) store<V>(out + m * d.out_step, sum[m]);
}

template <class V>
void depthwise_lane(const Depthwise& d, int64_t lane, int64_t row) {
    int64_t m = 0;
    for (; m + kDepthwiseTile <= d.cols; m += kDepthwiseTile)
        depthwise_tile<V, kDepthwiseTile>(d, row * d.in_row + m * d.in_step, lane,
                                          d.out + row * d.out_row + m * d.out_step + lane);
    for (; m + 4 <= d.cols; m += 4)
        depthwise_tile<V, 4>(d, row * d.in_row + m * d.in_step, lane, d.out + row * d.out_row + m * d.out_step + lane);
    for (; m < d.cols; ++m)
        depthwise_tile<V, 1>(d, row * d.in_row + m * d.in_step, lane, d.out + row * d.out_row + m * d.out_step + lane);
}

inline void depthwise(const Depthwise& d) {
    for (int64_t row = 0; row < d.rows; ++row) {
        int64_t lane = 0;
        for (; lane + lanes<Wide>() <= d.lanes; lane += lanes<Wide>()) depthwise_lane<Wide>(d, lane, row);
        for (; lane < d.lanes; lane += lanes<Narrow>()) depthwise_lane<Narrow>(d, lane, row);
    }
}

// T taps at once, their sums in registers over all rows.
template <class V, int T>
void depthwise_outer_taps(const DepthwiseOuter& d, int64_t first, int64_t lane) {
    V total[T];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) total[t] = zero<V>();
    for (int64_t r = 0; r < d.rows; ++r) {
        const float* x[T];
        V sum[T];
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) {
            x[t] = d.in[first + t] + r * d.in_row + lane;
            sum[t] = zero<V>();
        }
        const float* g = d.grad + r * d.grad_row + lane;
        for (int64_t m = 0; m < d.cols; ++m) {
            const V grad = load<V>(g + m * d.grad_step);
#pragma GCC unroll 16
            for (int t = 0; t < T; ++t) sum[t] = fma(load<V>(x[t] + m * d.in_step), grad, sum[t]);
        }
#pragma GCC unroll 16
        for (int t = 0; t < T; ++t) total[t] += sum[t];
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) {
        float* at = d.out + (first + t) * d.lanes + lane;
        store<V>(at, load<V>(at) + total[t]);
    }
}

template <class V>
void depthwise_outer_lane(const DepthwiseOuter& d, int64_t lane) {
    int64_t t = 0;
    for (; t + 9 <= d.taps; t += 9) depthwise_outer_taps<V, 9>(d, t, lane);
    for (; t + 4 <= d.taps; t += 4) depthwise_outer_taps<V, 4>(d, t, lane);
    for (; t < d.taps; ++t) depthwise_outer_taps<V, 1>(d, t, lane);
}

inline void depthwise_outer(const DepthwiseOuter& d) {
    int64_t lane = 0;
    for (; lane + lanes<Wide>() <= d.lanes; lane += lanes<Wide>()) depthwise_outer_lane<Wide>(d, lane);
    for (; lane < d.lanes; lane += lanes<Narrow>()) depthwise_outer_lane<Narrow>(d, lane);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
