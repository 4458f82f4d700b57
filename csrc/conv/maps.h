// One pass over feature maps: normalise, gate, add, and the sums that batch normalisation needs.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

// Call body(vector type, lane) for every vector of lanes of a pixel.
template <class Body>
inline void each_lane(int64_t count, const Body& body) {
    int64_t lane = 0;
    for (; lane + lanes<Wide>() <= count; lane += lanes<Wide>()) body(Wide{}, lane);
    for (; lane < count; lane += lanes<Narrow>()) body(Narrow{}, lane);
}

// x itself without a centre: nothing is subtracted from what has none.
template <class V>
inline V centre_of(const float* centre, int64_t lane) {
    return centre == nullptr ? zero<V>() : load<V>(centre + lane);
}

inline void affine_relu(const float* x, const Affine* from, float* out, int64_t pixels, int64_t width) {
    if (from == nullptr) {
        const int64_t count = pixels * width;
        int64_t i = 0;
        for (; i + lanes<Wide>() <= count; i += lanes<Wide>())
            store<Wide>(out + i, greater(load<Wide>(x + i), zero<Wide>()));
        for (; i < count; i += lanes<Narrow>()) store<Narrow>(out + i, greater(load<Narrow>(x + i), zero<Narrow>()));
        return;
    }
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        const V centre = centre_of<V>(from->centre, lane), scale = load<V>(from->a + lane);
        const V shift = load<V>(from->b + lane);
        for (int64_t m = 0; m < pixels; ++m) {
            const V value = fma(load<V>(x + m * width + lane) - centre, scale, shift);
            store<V>(out + m * width + lane, greater(value, zero<V>()));
        }
    });
}

template <class V, int MR>
inline void combine_tile(const Map* maps, int64_t count, const float* shift, float* out, int64_t offset, int64_t lane,
                         int64_t width) {
    V sum[MR];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) sum[m] = shift == nullptr ? load<V>(out + offset + m * width) : load<V>(shift + lane);
    for (int64_t j = 0; j < count; ++j) {
        const V scale = load<V>(maps[j].a + lane), centre = centre_of<V>(maps[j].centre, lane);
        const float* from = maps[j].x + offset;
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) sum[m] = fma(load<V>(from + m * width) - centre, scale, sum[m]);
    }
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m) store<V>(out + offset + m * width, sum[m]);
}

inline void combine(const Map* maps, int64_t count, const float* b, float* out, int64_t pixels, int64_t width) {
    constexpr int64_t kBand = 64;
    for (int64_t first = 0; first < pixels; first += kBand) {
        const int64_t last = first + kBand < pixels ? first + kBand : pixels;
        each_lane(width, [&](auto type, int64_t lane) {
            using V = decltype(type);
            int64_t m = first;
            for (; m + 8 <= last; m += 8) combine_tile<V, 8>(maps, count, b, out, m * width + lane, lane, width);
            for (; m < last; ++m) combine_tile<V, 1>(maps, count, b, out, m * width + lane, lane, width);
        });
    }
}

inline void add_gated(const float* x, const float* a, const float* gate, float* out, int64_t pixels, int64_t width) {
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        const float one = 1.0f;
        const V scale = a == nullptr ? splat(&one, V{}) : load<V>(a + lane);
        for (int64_t m = 0; m < pixels; ++m) {
            const int64_t i = m * width + lane;
            V value = load<V>(x + i) * scale;
            if (gate != nullptr) value = load<V>(gate + i) > zero<V>() ? value : zero<V>();
            store<V>(out + i, load<V>(out + i) + value);
        }
    });
}

inline void gated(const float* x, const float* gate, float* out, int64_t pixels, int64_t width) {
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        for (int64_t m = 0; m < pixels; ++m) {
            const int64_t i = m * width + lane;
            store<V>(out + i, load<V>(gate + i) > zero<V>() ? load<V>(x + i) : zero<V>());
        }
    });
}

// Sums run over short stretches first, so that rounding grows with their square root only.
constexpr int64_t kStretch = 64;

inline void moments(const float* x, const float* pivot, float* sum, float* squares, int64_t pixels, int64_t width) {
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        const V centre = load<V>(pivot + lane);
        V total = load<V>(sum + lane), total2 = load<V>(squares + lane);
        for (int64_t first = 0; first < pixels; first += kStretch) {
            const int64_t last = first + kStretch < pixels ? first + kStretch : pixels;
            V s[2] = {zero<V>(), zero<V>()}, q[2] = {zero<V>(), zero<V>()};
            int64_t m = first;
            for (; m + 2 <= last; m += 2)
#pragma GCC unroll 2
                for (int i = 0; i < 2; ++i) {
                    const V value = load<V>(x + (m + i) * width + lane) - centre;
                    s[i] += value;
                    q[i] = fma(value, value, q[i]);
                }
            if (m < last) {
                const V value = load<V>(x + m * width + lane) - centre;
                s[0] += value;
                q[0] = fma(value, value, q[0]);
            }
            total += s[0] + s[1];
            total2 += q[0] + q[1];
        }
        store<V>(sum + lane, total);
        store<V>(squares + lane, total2);
    });
}

inline void products(const float* g, const float* x, const float* pivot, float* sum, float* product, int64_t pixels,
                     int64_t width) {
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        const V centre = pivot == nullptr ? zero<V>() : load<V>(pivot + lane);
        V total = sum == nullptr ? zero<V>() : load<V>(sum + lane), total2 = load<V>(product + lane);
        for (int64_t first = 0; first < pixels; first += kStretch) {
            const int64_t last = first + kStretch < pixels ? first + kStretch : pixels;
            V s[2] = {zero<V>(), zero<V>()}, q[2] = {zero<V>(), zero<V>()};
            int64_t m = first;
            for (; m + 2 <= last; m += 2)
#pragma GCC unroll 2
                for (int i = 0; i < 2; ++i) {
                    const V grad = load<V>(g + (m + i) * width + lane);
                    s[i] += grad;
                    q[i] = fma(grad, load<V>(x + (m + i) * width + lane) - centre, q[i]);
                }
            if (m < last) {
                const V grad = load<V>(g + m * width + lane);
                s[0] += grad;
                q[0] = fma(grad, load<V>(x + m * width + lane) - centre, q[0]);
            }
            total += s[0] + s[1];
            total2 += q[0] + q[1];
        }
        if (sum != nullptr) store<V>(sum + lane, total);
        store<V>(product + lane, total2);
    });
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
