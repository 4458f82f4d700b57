// Normalise, pool 2x2 and gate in one pass, and its gradient; nothing is stored between them.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

// The windows of a row of the output: body(column, offset of the first pixel, distance down, distance right).
// Where the map ends a distance is 0: a pixel twice changes no maximum.
template <int kWindow, class Body>
inline void each_window(const NormPool& p, int64_t h, const Body& body) {
    const int64_t step = p.lanes, first = kWindow * h * p.width * step;
    const int64_t down = kWindow == 2 && kWindow * h + 1 < p.height ? p.width * step : 0;
    const int64_t right = kWindow == 2 ? step : 0;
    const int64_t whole = at_most(p.out_width, p.width / kWindow);
    for (int64_t w = 0; w < whole; ++w) body(w, first + kWindow * w * step, down, right);
    for (int64_t w = whole; w < p.out_width; ++w) body(w, first + kWindow * w * step, down, int64_t{0});
}

// Ask for the same pixels of the next rows: a lane's walk along a row is too sparse for the machine to foresee.
template <int kWindow>
inline void prefetch_window(const NormPool& p, const float* z, int64_t down, int64_t right) {
    const float* next = z + kWindow * p.width * p.lanes;
    prefetch(next);
    if constexpr (kWindow == 2) {
        prefetch(next + right);
        prefetch(next + down);
        prefetch(next + down + right);
    }
}

// What decides about pixels: the values of the gate's image where kGated, else the pass's own.
template <class V, bool kGated>
struct Deciding {
    const float* z;
    V centre, a, b;
    Deciding(const NormPool& p, int64_t lane)
        : z((kGated ? p.gate_z : p.z) + lane),
          centre(centre_of<V>(kGated ? p.gate_centre : p.centre, lane)),
          a(load<V>((kGated ? p.gate_a : p.a) + lane)),
          b(load<V>((kGated ? p.gate_b : p.b) + lane)) {}
    V at(int64_t offset) const { return fma(load<V>(z + offset) - centre, a, b); }
};

template <class V, int kWindow>
inline void norm_pool_row(const NormPool& p, int64_t h, int64_t lane, float* y) {
    const V a = load<V>(p.a + lane), b = load<V>(p.b + lane), floor = splat(&p.floor, V{});
    const V centre = centre_of<V>(p.centre, lane);
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        const float* z = p.z + at + lane;
        prefetch_window<kWindow>(p, z, down, right);
        V value = fma(load<V>(z) - centre, a, b);
        if constexpr (kWindow == 2) {
            value = greatest(value, fma(load<V>(z + right) - centre, a, b));
            value = greatest(value, fma(load<V>(z + down) - centre, a, b));
            value = greatest(value, fma(load<V>(z + down + right) - centre, a, b));
        }
        store<V>(y + w * p.lanes + lane, value <= floor ? floor : value);
    });
}

template <class V, int kWindow>
inline void norm_pool_gated_row(const NormPool& p, int64_t h, int64_t lane, float* y) {
    const V floor = splat(&p.floor, V{});
    const Deciding<V, false> own(p, lane);
    const Deciding<V, true> gate(p, lane);
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        V value = own.at(at), decides = gate.at(at);
        if constexpr (kWindow == 2) {
            const int64_t others[3] = {right, down, down + right};
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
                const V other = gate.at(at + others[k]), its_value = own.at(at + others[k]);
                const auto better = other > decides;
                value = better ? its_value : value;
                decides = better ? other : decides;
            }
        }
        store<V>(y + w * p.lanes + lane, decides <= floor ? floor : value);
    });
}

inline void norm_pool(const NormPool& p, float* y) {
    for (int64_t h = 0; h < p.out_height; ++h) {
        float* row = y + h * p.out_width * p.lanes;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            if (p.gate_z)
                p.window == 2 ? norm_pool_gated_row<V, 2>(p, h, lane, row) : norm_pool_gated_row<V, 1>(p, h, lane, row);
            else
                p.window == 2 ? norm_pool_row<V, 2>(p, h, lane, row) : norm_pool_row<V, 1>(p, h, lane, row);
        });
    }
}

// Whether a window's pixel `other` takes the place of an earlier one: where it is greater, or not a number.
template <class V, bool kNumbers>
inline auto takes_over(V other, V value) {
    if constexpr (kNumbers)
        return other > value;
    else
        return (other > value) | (other != other);
}

// Not a number where one of a window's values is none.
template <class V>
inline V seen_in_window(V seen, const V (&value)[4]) {
    return or_nan(or_nan(seen, value[0], value[1]), value[2], value[3]);
}

// kNumbers: nothing is stored, and false returned, where a window holds what is not a number.
template <class V, int kWindow, bool kNumbers>
inline bool norm_pool_sums_row(const NormPool& p, int64_t h, int64_t lane, const float* gy, float* sum,
                               float* product) {
    const V a = load<V>(p.a + lane), b = load<V>(p.b + lane), floor = splat(&p.floor, V{});
    const V centre = centre_of<V>(p.centre, lane);
    V total = zero<V>(), total2 = zero<V>(), seen = zero<V>();
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        const float* z = p.z + at + lane;
        prefetch_window<kWindow>(p, z, down, right);
        prefetch(gy + (p.out_width + w) * p.lanes + lane);
        V chosen = load<V>(z) - centre, value = fma(chosen, a, b);
        if constexpr (kWindow == 2) {
            const int64_t others[3] = {right, down, down + right};
            V values[4] = {value};
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
                const V other = load<V>(z + others[k]) - centre, its_value = fma(other, a, b);
                const auto better = takes_over<V, kNumbers>(its_value, value);
                chosen = better ? other : chosen;
                value = better ? its_value : value;
                values[k + 1] = its_value;
            }
            if constexpr (kNumbers) seen = seen_in_window(seen, values);
        }
        const V grad = value <= floor ? zero<V>() : load<V>(gy + w * p.lanes + lane);
        total += grad;
        total2 = fma(grad, chosen, total2);
    });
    if (kNumbers && any_nan(seen)) return false;
    store<V>(sum + lane, load<V>(sum + lane) + total);
    store<V>(product + lane, load<V>(product + lane) + total2);
    return true;
}

template <class V, int kWindow>
inline void norm_pool_gated_sums_row(const NormPool& p, int64_t h, int64_t lane, const float* gy, float* sum,
                                     float* product) {
    const V floor = splat(&p.floor, V{}), centre = centre_of<V>(p.centre, lane);
    const Deciding<V, true> gate(p, lane);
    V total = zero<V>(), total2 = zero<V>();
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        const float* z = p.z + at + lane;
        V chosen = load<V>(z) - centre, decides = gate.at(at);
        if constexpr (kWindow == 2) {
            const int64_t others[3] = {right, down, down + right};
#pragma GCC unroll 3
            for (int k = 0; k < 3; ++k) {
                const V other = gate.at(at + others[k]);
                const auto better = other > decides;
                chosen = better ? load<V>(z + others[k]) - centre : chosen;
                decides = better ? other : decides;
            }
        }
        const V grad = decides <= floor ? zero<V>() : load<V>(gy + w * p.lanes + lane);
        total += grad;
        total2 = fma(grad, chosen, total2);
    });
    store<V>(sum + lane, load<V>(sum + lane) + total);
    store<V>(product + lane, load<V>(product + lane) + total2);
}

inline void norm_pool_sums(const NormPool& p, const float* gy, float* sum, float* product) {
    for (int64_t h = 0; h < p.out_height; ++h) {
        const float* row = gy + h * p.out_width * p.lanes;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            if (p.gate_z)
                p.window == 2 ? norm_pool_gated_sums_row<V, 2>(p, h, lane, row, sum, product)
                              : norm_pool_gated_sums_row<V, 1>(p, h, lane, row, sum, product);
            else if (p.window == 1)
                norm_pool_sums_row<V, 1, true>(p, h, lane, row, sum, product);
            else if (!norm_pool_sums_row<V, 2, true>(p, h, lane, row, sum, product))
                norm_pool_sums_row<V, 2, false>(p, h, lane, row, sum, product);
        });
    }
}

// of_z * z; where statistics do not follow z it has no part, also where it is not a number.
template <class V>
inline V part_of_z(const Slopes& slopes, V z, V of_z) {
    const V part = z * of_z;
    if (slopes.follows) return part;
    return part == part ? part : zero<V>();
}

// The first of the greatest values of a window takes the gradient, of those that are not numbers the last. Stores run
// backwards: where the map ends, the first pixel of a window is written last. kNumbers: false where that was wrong,
// since a window holds what is not a number.
template <class V, int kWindow, bool kNumbers>
inline bool norm_pool_backward_row(const NormPool& p, int64_t h, int64_t lane, const float* gy, const Slopes& slopes,
                                   float* dz, int64_t dz_row) {
    constexpr int kPixels = kWindow * kWindow;
    const V a = load<V>(p.a + lane), b = load<V>(p.b + lane), floor = splat(&p.floor, V{});
    const V of_g = load<V>(slopes.of_g + lane), of_z = load<V>(slopes.of_z + lane);
    const V mean = load<V>(slopes.mean + lane), centre = centre_of<V>(p.centre, lane);
    V seen = zero<V>();
    float* to = dz + kWindow * h * dz_row + lane;
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        const int64_t from[4] = {0, right, down, down + right};
        const int64_t dz_down = down == 0 ? 0 : dz_row, into[4] = {0, right, dz_down, dz_down + right};
        prefetch_window<kWindow>(p, p.z + at + lane, down, right);
        prefetch(gy + (p.out_width + w) * p.lanes + lane);
        V z[kPixels], value[kPixels], share[kPixels];
#pragma GCC unroll 4
        for (int k = 0; k < kPixels; ++k) {
            z[k] = load<V>(p.z + at + lane + from[k]) - centre;
            value[k] = fma(z[k], a, b);
        }
        if constexpr (kNumbers && kWindow == 2) seen = seen_in_window(seen, value);
        V best = value[0];
#pragma GCC unroll 4
        for (int k = 1; k < kPixels; ++k) best = takes_over<V, kNumbers>(value[k], best) ? value[k] : best;
        V left = best <= floor ? zero<V>() : load<V>(gy + w * p.lanes + lane);
        const V undefined = best != best ? left : zero<V>();
#pragma GCC unroll 4
        for (int k = 0; k < kPixels; ++k) {
            const auto here = value[k] == best;
            share[k] = here ? left : zero<V>();
            left = here ? zero<V>() : left;
        }
        if constexpr (!kNumbers) {
            left = undefined;
            for (int k = kPixels - 1; k >= 0; --k) {
                const bool twice = (k % 2 == 1 && right == 0) || (k / 2 == 1 && down == 0);
                if (twice) continue;
                const auto here = value[k] != value[k];
                share[k] = share[k] + (here ? left : zero<V>());
                left = here ? zero<V>() : left;
            }
        }
        float* pixel = to + kWindow * w * p.lanes;
#pragma GCC unroll 4
        for (int k = kPixels - 1; k >= 0; --k)
            store<V>(pixel + into[k], fma(share[k] - mean, of_g, part_of_z<V>(slopes, z[k], of_z)));
    });
    return !any_nan(seen);
}

template <class V, int kWindow>
inline void norm_pool_gated_backward_row(const NormPool& p, int64_t h, int64_t lane, const float* gy,
                                         const Slopes& slopes, float* dz, int64_t dz_row) {
    constexpr int kPixels = kWindow * kWindow;
    const V floor = splat(&p.floor, V{}), centre = centre_of<V>(p.centre, lane);
    const V of_g = load<V>(slopes.of_g + lane), of_z = load<V>(slopes.of_z + lane), mean = load<V>(slopes.mean + lane);
    const Deciding<V, true> gate(p, lane);
    float* to = dz + kWindow * h * dz_row + lane;
    each_window<kWindow>(p, h, [&](int64_t w, int64_t at, int64_t down, int64_t right) {
        const int64_t from[4] = {0, right, down, down + right};
        const int64_t dz_down = down == 0 ? 0 : dz_row, into[4] = {0, right, dz_down, dz_down + right};
        V z[kPixels], decides[kPixels];
#pragma GCC unroll 4
        for (int k = 0; k < kPixels; ++k) {
            z[k] = load<V>(p.z + at + lane + from[k]) - centre;
            decides[k] = gate.at(at + from[k]);
        }
        V best = decides[0];
#pragma GCC unroll 4
        for (int k = 1; k < kPixels; ++k) best = decides[k] > best ? decides[k] : best;
        V left = best <= floor ? zero<V>() : load<V>(gy + w * p.lanes + lane), share[kPixels];
#pragma GCC unroll 4
        for (int k = 0; k < kPixels; ++k) {
            const auto here = decides[k] == best;
            share[k] = here ? left : zero<V>();
            left = here ? zero<V>() : left;
        }
        float* pixel = to + kWindow * w * p.lanes;
#pragma GCC unroll 4
        for (int k = kPixels - 1; k >= 0; --k)
            store<V>(pixel + into[k], fma(share[k] - mean, of_g, part_of_z<V>(slopes, z[k], of_z)));
    });
}

// Pixels of row r from column `first` on that no window reads.
template <class V>
inline void unread_row(const NormPool& p, int64_t r, int64_t first, int64_t lane, const Slopes& slopes, float* dz) {
    const V of_z = load<V>(slopes.of_z + lane), centre = centre_of<V>(p.centre, lane);
    const V missing = (zero<V>() - load<V>(slopes.mean + lane)) * load<V>(slopes.of_g + lane);
    for (int64_t c = first; c < p.width; ++c) {
        const V z = load<V>(p.z + (r * p.width + c) * p.lanes + lane) - centre;
        store<V>(dz + c * p.lanes + lane, slopes.follows ? fma(z, of_z, missing) : missing);
    }
}

inline void norm_pool_backward(const NormPool& p, const float* gy, const Slopes& slopes, float* dz, int64_t dz_row) {
    const int64_t read_rows = at_most(p.height, p.window * p.out_height);
    const int64_t read_columns = at_most(p.width, p.window * p.out_width);
    for (int64_t h = 0; h < p.out_height; ++h) {
        const float* row = gy + h * p.out_width * p.lanes;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            if (p.gate_z)
                p.window == 2 ? norm_pool_gated_backward_row<V, 2>(p, h, lane, row, slopes, dz, dz_row)
                              : norm_pool_gated_backward_row<V, 1>(p, h, lane, row, slopes, dz, dz_row);
            else if (p.window == 1)
                norm_pool_backward_row<V, 1, false>(p, h, lane, row, slopes, dz, dz_row);
            else if (!norm_pool_backward_row<V, 2, true>(p, h, lane, row, slopes, dz, dz_row))
                norm_pool_backward_row<V, 2, false>(p, h, lane, row, slopes, dz, dz_row);
        });
    }
    for (int64_t r = 0; r < p.height; ++r) {
        const int64_t first = r < read_rows ? read_columns : 0;
        if (first == p.width) continue;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            unread_row<decltype(type)>(p, r, first, lane, slopes, dz + r * dz_row);
        });
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
