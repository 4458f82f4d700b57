// Every convolution is this product: registers hold a tile of pixels x output lanes, taps are offsets into the input.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

// Pixels of a tile: as many as the registers hold beside two vectors of weights.
#if defined(__AVX512F__)
constexpr int kTile = 14;
#elif defined(__AVX2__)
constexpr int kTile = 6;
#else
constexpr int kTile = 3;
#endif

// MR pixels and NV vectors of lanes, from `offset` in every tap.
template <class V, int NV, int MR>
void gemm_tile(const TapGemm& g, int64_t offset, int64_t lane, float* out) {
    V sum[MR][NV];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v)
            sum[m][v] = g.accumulate ? load<V>(out + m * g.out_step + v * lanes<V>()) : zero<V>();
    const int64_t step = g.in_step;
    for (int64_t t = 0; t < g.taps; ++t) {
        const float* x[(MR + 2) / 3];  // one address for three pixels: there are 16 registers for addresses
#pragma GCC unroll 16
        for (int m = 0; m < (MR + 2) / 3; ++m) x[m] = g.in[t] + offset + 3 * m * step;
        const float* w = g.weight[t] + lane;
        for (int64_t k = 0; k < g.depth; ++k, w += g.lanes) {
            V row[NV];
#pragma GCC unroll 4
            for (int v = 0; v < NV; ++v) row[v] = load<V>(w + v * lanes<V>());
#pragma GCC unroll 16
            for (int m = 0; m < MR; ++m) {
                const V value = splat(x[m / 3] + (m % 3) * step + k, V{});
#pragma GCC unroll 4
                for (int v = 0; v < NV; ++v) sum[m][v] = fma(value, row[v], sum[m][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 4
        for (int v = 0; v < NV; ++v) store<V>(out + m * g.out_step + v * lanes<V>(), sum[m][v]);
}

using GemmTile = void (*)(const TapGemm&, int64_t, int64_t, float*);

template <class V, int NV>
struct GemmTiles {
    template <int M>
    static GemmTile of(int64_t size) {
        if (size == M) return &gemm_tile<V, NV, M>;
        if constexpr (M > 1) return of<M - 1>(size);
        return nullptr;
    }
};

// Rows cut into tiles of nearly equal size.
template <class V, int NV>
void gemm_lanes(const TapGemm& g, int64_t lane) {
    const int64_t tiles = (g.cols + kTile - 1) / kTile;
    const int64_t size = g.cols / tiles, larger = g.cols % tiles;
    const GemmTile plain = GemmTiles<V, NV>::template of<kTile>(size);
    const GemmTile more = larger ? GemmTiles<V, NV>::template of<kTile>(size + 1) : plain;
    for (int64_t r = 0; r < g.rows; ++r) {
        int64_t offset = r * g.in_row;
        float* out = g.out + r * g.out_row + lane;
        for (int64_t i = 0; i < tiles; ++i) {
            const int64_t pixels = size + (i < larger);
            (i < larger ? more : plain)(g, offset, lane, out);
            offset += pixels * g.in_step;
            out += pixels * g.out_step;
        }
    }
}

inline void tap_gemm(const TapGemm& given) {
    TapGemm g = given;
    if (g.rows == 0 || g.cols == 0) return;
    if (g.in_row == g.cols * g.in_step && g.out_row == g.cols * g.out_step) {
        g.cols *= g.rows;
        g.rows = 1;
    }
    constexpr int64_t wide = lanes<Wide>();
    int64_t lane = 0;
    for (; lane + 2 * wide <= g.lanes; lane += 2 * wide) gemm_lanes<Wide, 2>(g, lane);
    for (; lane + wide <= g.lanes; lane += wide) gemm_lanes<Wide, 1>(g, lane);
    for (; lane < g.lanes; lane += lanes<Narrow>()) gemm_lanes<Narrow, 1>(g, lane);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
