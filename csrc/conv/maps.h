// One pass over feature maps: normalise, gate, add, and the sums that batch normalisation needs.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

template <int N>
struct Vectors {
    static constexpr int count = N;
};

// Call body(vector type, number of vectors, lane) for groups of neighbouring lanes: memory is read in long pieces.
template <class Body>
inline void each_group(int64_t count, const Body& body) {
    int64_t lane = 0;
    for (; lane + 2 * lanes<Wide>() <= count; lane += 2 * lanes<Wide>()) body(Wide{}, Vectors<2>{}, lane);
    for (; lane + lanes<Wide>() <= count; lane += lanes<Wide>()) body(Wide{}, Vectors<1>{}, lane);
    for (; lane < count; lane += lanes<Narrow>()) body(Narrow{}, Vectors<1>{}, lane);
}

// The same for single vectors.
template <class Body>
inline void each_lane(int64_t count, const Body& body) {
    int64_t lane = 0;
    for (; lane + lanes<Wide>() <= count; lane += lanes<Wide>()) body(Wide{}, lane);
    for (; lane < count; lane += lanes<Narrow>()) body(Narrow{}, lane);
}

template <class V>
inline V centre_of(const float* centre, int64_t lane) {
    return centre == nullptr ? zero<V>() : load<V>(centre + lane);
}

// What is not a number stays so.
template <class V>
inline V relu(V x) {
    return greater(zero<V>(), x);
}

inline void affine_relu(const float* x, const Affine* from, float* out, int64_t pixels, int64_t width) {
    if (from == nullptr) {
        const int64_t count = pixels * width;
        int64_t i = 0;
        for (; i + lanes<Wide>() <= count; i += lanes<Wide>())
            store<Wide>(out + i, relu(load<Wide>(x + i)));
        for (; i < count; i += lanes<Narrow>()) store<Narrow>(out + i, relu(load<Narrow>(x + i)));
        return;
    }
    each_group(width, [&](auto type, auto vectors, int64_t lane) {
        using V = decltype(type);
        constexpr int n = decltype(vectors)::count;
        V centre[n], scale[n], shift[n];
#pragma GCC unroll 2
        for (int v = 0; v < n; ++v) {
            centre[v] = centre_of<V>(from->centre, lane + v * lanes<V>());
            scale[v] = load<V>(from->a + lane + v * lanes<V>());
            shift[v] = load<V>(from->b + lane + v * lanes<V>());
        }
        for (int64_t m = 0; m < pixels; ++m)
#pragma GCC unroll 2
            for (int v = 0; v < n; ++v) {
                const int64_t i = m * width + lane + v * lanes<V>();
                store<V>(out + i, relu(fma(load<V>(x + i) - centre[v], scale[v], shift[v])));
            }
    });
}

// Pixels between what is read and what is asked for: maps come from far away, several at a time.
constexpr int64_t kAhead = 16;

template <class V, int NV, int MR>
inline void combine_tile(const Map* maps, int64_t count, const float* shift, float* out, int64_t first, int64_t lane,
                         int64_t width) {
    V sum[MR][NV];
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
            const int64_t at = lane + v * lanes<V>();
            sum[m][v] = shift == nullptr ? load<V>(out + (first + m) * width + at) : load<V>(shift + at);
        }
    for (int64_t j = 0; j < count; ++j) {
        V scale[NV], centre[NV];
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
            scale[v] = load<V>(maps[j].a + lane + v * lanes<V>());
            centre[v] = centre_of<V>(maps[j].centre, lane + v * lanes<V>());
        }
        const float* from = maps[j].x + first * width + lane;
#pragma GCC unroll 16
        for (int m = 0; m < MR; ++m) {
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v)
            {
                prefetch(from + (m + kAhead) * width + v * lanes<V>());
                sum[m][v] = fma(load<V>(from + m * width + v * lanes<V>()) - centre[v], scale[v], sum[m][v]);
            }
        }
    }
#pragma GCC unroll 16
    for (int m = 0; m < MR; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) store<V>(out + (first + m) * width + lane + v * lanes<V>(), sum[m][v]);
}

inline void combine(const Map* maps, int64_t count, const float* b, float* out, int64_t pixels, int64_t width) {
    constexpr int64_t kBand = 64;
    for (int64_t first = 0; first < pixels; first += kBand) {
        const int64_t last = first + kBand < pixels ? first + kBand : pixels;
        each_group(width, [&](auto type, auto vectors, int64_t lane) {
            using V = decltype(type);
            constexpr int n = decltype(vectors)::count;
            int64_t m = first;
            for (; m + 8 <= last; m += 8) combine_tile<V, n, 8>(maps, count, b, out, m, lane, width);
            for (; m < last; ++m) combine_tile<V, n, 1>(maps, count, b, out, m, lane, width);
        });
    }
}

inline void add_gated(const float* x, const float* a, const float* gate, float* out, int64_t pixels, int64_t width) {
    if (a == nullptr && gate != nullptr) {
        const int64_t count = pixels * width;
        const auto add = [&](auto type, int64_t i) {
            using V = decltype(type);
            const V value = load<V>(gate + i) <= zero<V>() ? zero<V>() : load<V>(x + i);
            store<V>(out + i, load<V>(out + i) + value);
        };
        int64_t i = 0;
        for (; i + lanes<Wide>() <= count; i += lanes<Wide>()) add(Wide{}, i);
        for (; i < count; i += lanes<Narrow>()) add(Narrow{}, i);
        return;
    }
    each_lane(width, [&](auto type, int64_t lane) {
        using V = decltype(type);
        const float one = 1.0f;
        const V scale = a == nullptr ? splat(&one, V{}) : load<V>(a + lane);
        for (int64_t m = 0; m < pixels; ++m) {
            const int64_t i = m * width + lane;
            V value = load<V>(x + i) * scale;
            if (gate != nullptr) value = load<V>(gate + i) <= zero<V>() ? zero<V>() : value;
            store<V>(out + i, load<V>(out + i) + value);
        }
    });
}

inline void gated(const float* x, const float* gate, float* out, int64_t pixels, int64_t width) {
    const int64_t count = pixels * width;
    int64_t i = 0;
    for (; i + lanes<Wide>() <= count; i += lanes<Wide>())
        store<Wide>(out + i, load<Wide>(gate + i) <= zero<Wide>() ? zero<Wide>() : load<Wide>(x + i));
    for (; i < count; i += lanes<Narrow>())
        store<Narrow>(out + i, load<Narrow>(gate + i) <= zero<Narrow>() ? zero<Narrow>() : load<Narrow>(x + i));
}

// Sums run over short stretches first, so that rounding grows with their square root only.
constexpr int64_t kStretch = 64;

// sum += g, product += g * (x - pivot); with moments g is x - pivot itself.
template <bool moments, class V, int NV>
inline void sums_of(const float* g, const float* x, const float* pivot, float* sum, float* product, int64_t pixels,
                    int64_t width, int64_t lane) {
    V centre[NV], total[NV], total2[NV];
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
        const int64_t at = lane + v * lanes<V>();
        centre[v] = centre_of<V>(pivot, at);
        total[v] = sum == nullptr ? zero<V>() : load<V>(sum + at);
        total2[v] = load<V>(product + at);
    }
    for (int64_t first = 0; first < pixels; first += kStretch) {
        const int64_t last = first + kStretch < pixels ? first + kStretch : pixels;
        V s[2][NV] = {}, q[2][NV] = {};
        const auto add = [&](int64_t m, int i) {
#pragma GCC unroll 2
            for (int v = 0; v < NV; ++v) {
                const int64_t at = m * width + lane + v * lanes<V>();
                const V value = load<V>(x + at) - centre[v], factor = moments ? value : load<V>(g + at);
                s[i][v] += factor;
                q[i][v] = fma(factor, value, q[i][v]);
            }
        };
        int64_t m = first;
        for (; m + 2 <= last; m += 2) {
            prefetch(x + (m + 16) * width + lane);
            prefetch(x + (m + 17) * width + lane);
            add(m, 0);
            add(m + 1, 1);
        }
        if (m < last) add(m, 0);
#pragma GCC unroll 2
        for (int v = 0; v < NV; ++v) {
            total[v] += s[0][v] + s[1][v];
            total2[v] += q[0][v] + q[1][v];
        }
    }
#pragma GCC unroll 2
    for (int v = 0; v < NV; ++v) {
        const int64_t at = lane + v * lanes<V>();
        if (sum != nullptr) store<V>(sum + at, total[v]);
        store<V>(product + at, total2[v]);
    }
}

inline void moments(const float* x, const float* pivot, float* sum, float* squares, int64_t pixels, int64_t width) {
    each_group(width, [&](auto type, auto vectors, int64_t lane) {
        sums_of<true, decltype(type), decltype(vectors)::count>(nullptr, x, pivot, sum, squares, pixels, width, lane);
    });
}

inline void products(const float* g, const float* x, const float* pivot, float* sum, float* product, int64_t pixels,
                     int64_t width) {
    each_group(width, [&](auto type, auto vectors, int64_t lane) {
        sums_of<false, decltype(type), decltype(vectors)::count>(g, x, pivot, sum, product, pixels, width, lane);
    });
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
