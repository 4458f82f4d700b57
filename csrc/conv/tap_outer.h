// Weight gradients: registers hold a tile of input channels x output lanes while the pixels go by.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

template <class V, int NV, int KR>
void outer_tile(const TapOuter& o, int64_t k, int64_t lane) {
    V sum[KR][NV];
#pragma GCC unroll 16
    for (int i = 0; i < KR; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) sum[i][v] = zero<V>();
    for (int64_t r = 0; r < o.rows; ++r) {
        const float* x = o.in + r * o.in_row + k;
        const float* g = o.grad + r * o.grad_row + lane;
        for (int64_t m = 0; m < o.cols; ++m, x += o.in_step, g += o.grad_step) {
            V grad[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) grad[v] = load<V>(g + v * lanes<V>());
#pragma GCC unroll 16
            for (int i = 0; i < KR; ++i) {
                const V value = splat(x + i, V{});
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) sum[i][v] = fma(value, grad[v], sum[i][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < KR; ++i)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) {
            float* at = o.out + (k + i) * o.lanes + lane + v * lanes<V>();
            store<V>(at, load<V>(at) + sum[i][v]);
        }
}

using OuterTile = void (*)(const TapOuter&, int64_t, int64_t);

template <class V, int NV>
struct OuterTiles {
    template <int M>
    static OuterTile of(int64_t size) {
        if (size == M) return &outer_tile<V, NV, M>;
        if constexpr (M > 1) return of<M - 1>(size);
        return nullptr;
    }
};

template <class V, int NV>
void outer_lanes(const TapOuter& o, int64_t lane) {
    const int64_t tiles = (o.depth + kTile - 1) / kTile;
    for (int64_t i = 0, k = 0; i < tiles; ++i) {
        const int64_t size = (o.depth - k) / (tiles - i);
        OuterTiles<V, NV>::template of<kTile>(size)(o, k, lane);
        k += size;
    }
}

// Rows in bands, whose inputs and gradients stay in the nearest cache for all tiles.
inline void tap_outer(const TapOuter& given) {
    constexpr int64_t wide = lanes<Wide>();
    constexpr int64_t kPixels = 224;
    TapOuter o = given;
    const int64_t band = o.cols < kPixels ? kPixels / o.cols : 1;
    for (int64_t r = 0; r < given.rows; r += band) {
        o.rows = given.rows - r < band ? given.rows - r : band;
        o.in = given.in + r * o.in_row;
        o.grad = given.grad + r * o.grad_row;
        int64_t lane = 0;
        for (; lane + 2 * wide <= o.lanes; lane += 2 * wide) outer_lanes<Wide, 2>(o, lane);
        for (; lane + wide <= o.lanes; lane += wide) outer_lanes<Wide, 1>(o, lane);
        for (; lane < o.lanes; lane += lanes<Narrow>()) outer_lanes<Narrow, 1>(o, lane);
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
