// Pools of 3x3 with padding 1; what the backward needs it computes again.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least_0(int64_t a) { return a < 0 ? 0 : a; }
inline int64_t pooled(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

// Maximum of three rows at one column; a row that does not exist is replaced by its neighbour.
template <class V>
struct ColumnMaximum {
    const float *above, *middle, *below;
    V operator()(int64_t i) const {
        return greatest(load<V>(above + i), load<V>(middle + i), load<V>(below + i));
    }
};

// Sum of the rows that exist.
template <class V>
struct ColumnSum {
    const float *above, *middle, *below;
    V operator()(int64_t i) const {
        V value = load<V>(middle + i);
        if (above != nullptr) value += load<V>(above + i);
        if (below != nullptr) value += load<V>(below + i);
        return value;
    }
};

// out[w] = join over the columns of window w, each column read once; `edge` stands for a column outside.
template <class V, class Column, class Join, class Finish>
inline void join_columns(const Column& column, const Join& join, const Finish& finish, V edge, int64_t width,
                         int64_t stride, int64_t step, float* out) {
    const int64_t out_width = pooled(width, stride);
    V left = edge, middle = column(0);
    for (int64_t w = 0; w < out_width; ++w) {
        const int64_t c = w * stride;
        const V right = c + 1 < width ? column((c + 1) * step) : edge;
        store<V>(out + w * step, finish(join(left, middle, right), w));
        left = stride == 1 ? middle : right;
        middle = stride == 1 ? right : c + 2 < width ? column((c + 2) * step) : edge;
    }
}

inline void max_pool(const Pool& p, float* out) {
    const int64_t out_height = pooled(p.height, p.stride), row = p.width * p.lanes;
    for (int64_t h = 0; h < out_height; ++h, out += pooled(p.width, p.stride) * p.lanes) {
        const float* middle = p.x + h * p.stride * row;
        const float* above = h > 0 ? middle - row : middle;
        const float* below = h * p.stride + 1 < p.height ? middle + row : middle;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            const float lowest = -__builtin_inff();
            join_columns<V>(ColumnMaximum<V>{above + lane, middle + lane, below + lane},
                            [](V a, V b, V c) { return greatest(a, b, c); }, [](V value, int64_t) { return value; },
                            splat(&lowest, V{}), p.width, p.stride, p.lanes, out + lane);
        });
    }
}

// 1 / (number of rows or columns of window w that lie inside).
inline float share(int64_t w, int64_t size, int64_t stride) {
    const int64_t left = at_least_0(w * stride - 1), right = at_most(w * stride + 1, size - 1);
    return 1.0f / static_cast<float>(right - left + 1);
}

// The factor of window w of a row: only the first and the last differ.
template <class V>
struct Shares {
    V inner, first, last;
    int64_t end;
    Shares(float by_row, int64_t width, int64_t stride) : end(pooled(width, stride) - 1) {
        const float values[3] = {by_row / 3.0f, by_row * share(0, width, stride), by_row * share(end, width, stride)};
        inner = splat(values, V{}), first = splat(values + 1, V{}), last = splat(values + 2, V{});
    }
    V operator()(int64_t w) const { return w == 0 ? first : w == end ? last : inner; }
};

inline void avg_pool(const Pool& p, float* out) {
    const int64_t out_height = pooled(p.height, p.stride), row = p.width * p.lanes;
    for (int64_t h = 0; h < out_height; ++h, out += pooled(p.width, p.stride) * p.lanes) {
        const float* middle = p.x + h * p.stride * row;
        const float* above = h > 0 ? middle - row : nullptr;
        const float* below = h * p.stride + 1 < p.height ? middle + row : nullptr;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            const Shares<V> shares(share(h, p.height, p.stride), p.width, p.stride);
            const ColumnSum<V> column{above ? above + lane : nullptr, middle + lane, below ? below + lane : nullptr};
            join_columns<V>(column, [](V a, V b, V c) { return a + b + c; },
                            [&](V value, int64_t w) { return value * shares(w); }, zero<V>(), p.width, p.stride,
                            p.lanes, out + lane);
        });
    }
}

// Columns of the windows over input row r: the sum of their gradients, each with its share.
template <class V>
struct WindowSum {
    const float* grad;  // of the first window over the row
    int64_t windows, row;
    V by_row[3];
    const Shares<V>& shares;
    int64_t step;
    V operator()(int64_t i) const {
        V value = load<V>(grad + i) * by_row[0];
        for (int64_t k = 1; k < windows; ++k) value = fma(load<V>(grad + k * row + i), by_row[k], value);
        return value * shares(i / step);
    }
};

template <class V>
void avg_pool_backward_row(const Pool& p, const float* grad, float* dx, int64_t r, int64_t lane) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    const int64_t first = r / p.stride - (p.stride == 1 && r > 0), last = at_most((r + 1) / p.stride, out_height - 1);
    const Shares<V> shares(1.0f, p.width, p.stride);
    WindowSum<V> column{grad + first * out_width * step + lane, last - first + 1, out_width * step, {}, shares, step};
    for (int64_t h = first; h <= last; ++h) {
        const float by_row = share(h, p.height, p.stride);
        column.by_row[h - first] = splat(&by_row, V{});
    }
    float* to = dx + r * p.width * step + lane;
    const auto add = [](float* at, V value) { store<V>(at, load<V>(at) + value); };
    V left = zero<V>(), middle = column(0);
    for (int64_t w = 0; w < out_width; ++w) {
        const V right = w + 1 < out_width ? column((w + 1) * step) : zero<V>();
        if (p.stride == 1) {
            add(to + w * step, left + middle + right);
        } else {
            add(to + 2 * w * step, middle);
            if (2 * w + 1 < p.width) add(to + (2 * w + 1) * step, middle + right);
        }
        left = middle;
        middle = right;
    }
}

inline void avg_pool_backward(const Pool& p, const float* grad, float* dx) {
    for (int64_t r = 0; r < p.height; ++r)
        each_lane(p.lanes,
                  [&](auto type, int64_t lane) { avg_pool_backward_row<decltype(type)>(p, grad, dx, r, lane); });
}

// Which entry of a window takes its gradient: the first of the greatest where all are numbers.
struct AmongNumbers {
    template <class V>
    static auto over_earlier(V a, V b) { return a > b; }
    template <class V>
    static auto over_later(V a, V b) { return a >= b; }
};

// Where some are not: the last of these, as in PyTorch.
struct AmongAll {
    template <class V>
    static auto over_earlier(V a, V b) { return (a > b) | (a != a); }
    template <class V>
    static auto over_later(V a, V b) { return (a >= b) | ((a != a) & (b == b)); }
};

// Along one axis: the gradient of window i, entries i - 1 .. i + 1, goes to the entry that `Takes` tells.
template <class V, bool add, class Takes>
inline void route(const float* value, const float* grad, int64_t count, int64_t step, float* out) {
    const float lowest = -__builtin_inff();
    const V edge = splat(&lowest, V{});
    V before2 = edge, before = edge, here = load<V>(value), after = count > 1 ? load<V>(value + step) : edge;
    V grad_before = zero<V>(), grad_here = load<V>(grad);
    for (int64_t i = 0; i < count; ++i) {
        const V after2 = i + 2 < count ? load<V>(value + (i + 2) * step) : edge;
        const V grad_after = i + 1 < count ? load<V>(grad + (i + 1) * step) : zero<V>();
        const auto over_before = Takes::over_earlier(here, before), over_after = Takes::over_later(here, after);
        V from_before = over_before ? grad_before : zero<V>(), from_here = over_before ? grad_here : zero<V>();
        V from_after = over_after ? grad_after : zero<V>();
        from_before = Takes::over_earlier(here, before2) ? from_before : zero<V>();
        from_here = over_after ? from_here : zero<V>();
        from_after = Takes::over_later(here, after2) ? from_after : zero<V>();
        V sum = from_before + from_here + from_after;
        if (add) sum += load<V>(out + i * step);
        store<V>(out + i * step, sum);
        before2 = before, before = here, here = after, after = after2;
        grad_before = grad_here, grad_here = grad_after;
    }
}

// Stride 1: rows first, by the maxima of their windows, then columns.
template <class V, class Takes>
void route_maxima(const Pool& p, const float* grad, float* dx, int64_t lane) {
    const int64_t row = p.width * p.lanes;
    float *maxima = p.buffer + lane, *of_row = maxima + p.height * row;
    for (int64_t w = 0; w < p.width; ++w)
        route<V, false, Takes>(maxima + w * p.lanes, grad + lane + w * p.lanes, p.height, row, of_row + w * p.lanes);
    for (int64_t r = 0; r < p.height; ++r)
        route<V, true, Takes>(p.x + r * row + lane, of_row + r * row, p.width, p.lanes, dx + r * row + lane);
}

template <class V>
void max_pool_backward_dense(const Pool& p, const float* grad, float* dx, int64_t lane) {
    const int64_t row = p.width * p.lanes;
    const float lowest = -__builtin_inff();
    V seen = zero<V>();
    for (int64_t r = 0; r < p.height; ++r) {
        const float* x = p.x + r * row + lane;
        const auto finish = [&seen](V value, int64_t) {
            seen = or_nan(seen, value, value);
            return value;
        };
        join_columns<V>([x](int64_t i) { return load<V>(x + i); }, [](V a, V b, V c) { return greatest(a, b, c); },
                        finish, splat(&lowest, V{}), p.width, 1, p.lanes, p.buffer + lane + r * row);
    }
    if (any_nan(seen))
        route_maxima<V, AmongAll>(p, grad, dx, lane);
    else
        route_maxima<V, AmongNumbers>(p, grad, dx, lane);
}

// Any stride: window by window.
template <class V>
void max_pool_backward_sparse(const Pool& p, const float* grad, float* dx, int64_t lane) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    for (int64_t h = 0; h < out_height; ++h)
        for (int64_t w = 0; w < out_width; ++w) {
            const int64_t top = at_least_0(h * p.stride - 1), bottom = at_most(h * p.stride + 1, p.height - 1);
            const int64_t first = at_least_0(w * p.stride - 1), last = at_most(w * p.stride + 1, p.width - 1);
            V value = load<V>(p.x + (top * p.width + first) * step + lane);
            for (int64_t r = top; r <= bottom; ++r)
                for (int64_t c = first; c <= last; ++c)
                    value = greatest(value, load<V>(p.x + (r * p.width + c) * step + lane));
            const V whole = load<V>(grad + (h * out_width + w) * step + lane);
            V left = whole;
            for (int64_t r = top; r <= bottom; ++r)
                for (int64_t c = first; c <= last; ++c) {
                    const int64_t i = (r * p.width + c) * step + lane;
                    const auto here = load<V>(p.x + i) == value;
                    store<V>(dx + i, load<V>(dx + i) + (here ? left : zero<V>()));
                    left = here ? zero<V>() : left;
                }
            if (!any_nan(value)) continue;
            left = value != value ? whole : zero<V>();
            for (int64_t r = bottom; r >= top; --r)
                for (int64_t c = last; c >= first; --c) {
                    const int64_t i = (r * p.width + c) * step + lane;
                    const V x = load<V>(p.x + i);
                    store<V>(dx + i, load<V>(dx + i) + (x != x ? left : zero<V>()));
                    left = x != x ? zero<V>() : left;
                }
        }
}

inline void max_pool_backward(const Pool& p, const float* grad, float* dx) {
    each_lane(p.lanes, [&](auto type, int64_t lane) {
        using V = decltype(type);
        if (p.stride == 1)
            max_pool_backward_dense<V>(p, grad, dx, lane);
        else
            max_pool_backward_sparse<V>(p, grad, dx, lane);
    });
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
