// Depthwise convolutions by taps, and the gradients of their weights.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

template <class V, int MR>
void depthwise_tile(const Depthwise& d, int64_t offset, int64_t lane, float* out) {
    V sum[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) sum[m] = d.accumulate ? load<V>(out + m * d.out_step) : zero<V>();
    const int64_t step = d.in_step;
    for (int64_t t = 0; t < d.taps; ++t) {
        const V w = load<V>(d.weight + t * d.lanes + lane);
        const float* x = d.in[t] + offset;
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) sum[m] = fma(load<V>(x + m * step), w, sum[m]);
    }
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) store<V>(out + m * d.out_step, sum[m]);
}

using DepthwiseTile = void (*)(const Depthwise&, int64_t, int64_t, float*);

template <class V>
struct DepthwiseTiles {
    template <int M>
    static DepthwiseTile of(int64_t size) {
        if (size == M) return &depthwise_tile<V, M>;
        if constexpr (M > 1) return of<M - 1>(size);
        return nullptr;
    }
};

// Rows cut into tiles of nearly equal size.
template <class V>
void depthwise_lane(const Depthwise& d, int64_t lane, int64_t row) {
    const int64_t tiles = (d.cols + kTile - 1) / kTile;
    const int64_t size = d.cols / tiles, larger = d.cols % tiles;
    const DepthwiseTile plain = DepthwiseTiles<V>::template of<kTile>(size);
    const DepthwiseTile more = larger ? DepthwiseTiles<V>::template of<kTile>(size + 1) : plain;
    int64_t offset = row * d.in_row + lane;
    float* out = d.out + row * d.out_row + lane;
    for (int64_t i = 0; i < tiles; ++i) {
        const int64_t pixels = size + (i < larger);
        (i < larger ? more : plain)(d, offset, lane, out);
        offset += pixels * d.in_step;
        out += pixels * d.out_step;
    }
}

inline void depthwise(const Depthwise& d) {
    if (d.cols == 0) return;
    for (int64_t row = 0; row < d.rows; ++row)
        each_lane(d.lanes, [&](auto type, int64_t lane) { depthwise_lane<decltype(type)>(d, lane, row); });
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

inline void depthwise_outer(const DepthwiseOuter& d) {
    each_lane(d.lanes, [&](auto type, int64_t lane) {
        using V = decltype(type);
        int64_t t = 0;
        for (; t + 9 <= d.taps; t += 9) depthwise_outer_taps<V, 9>(d, t, lane);
        for (; t + 4 <= d.taps; t += 4) depthwise_outer_taps<V, 4>(d, t, lane);
        for (; t < d.taps; ++t) depthwise_outer_taps<V, 1>(d, t, lane);
    });
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
