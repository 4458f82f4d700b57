// Pools of 3x3 with padding 1, by rows and then by columns; backward recomputes what it needs.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

inline int64_t at_most(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t at_least_0(int64_t a) { return a < 0 ? 0 : a; }
inline int64_t pooled(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

// The greater, and not a number where either is.
template <class V>
inline V greatest(V a, V b) {
    return ((a > b) | (a != a)) ? a : b;
}

// Maximum of each window of a row: out [out_width].
template <class V>
inline void row_maxima(const float* x, int64_t width, int64_t stride, int64_t step, float* out) {
    const int64_t out_width = pooled(width, stride);
    for (int64_t w = 0; w < out_width; ++w) {
        const int64_t left = at_least_0(w * stride - 1), right = at_most(w * stride + 1, width - 1);
        V value = greatest(load<V>(x + left * step), load<V>(x + w * stride * step));
        value = greatest(value, load<V>(x + right * step));
        store<V>(out + w * step, value);
    }
}

inline void max_pool(const Pool& p, float* out) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    for (int64_t h = 0; h < out_height; ++h) {
        const float* middle = p.x + h * p.stride * p.width * step;
        const float* above = p.x + at_least_0(h * p.stride - 1) * p.width * step;
        const float* below = p.x + at_most(h * p.stride + 1, p.height - 1) * p.width * step;
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            for (int64_t w = 0; w < p.width; ++w) {
                const int64_t i = w * step + lane;
                V value = greatest(load<V>(above + i), load<V>(middle + i));
                store<V>(p.buffer + i, greatest(value, load<V>(below + i)));
            }
            row_maxima<V>(p.buffer + lane, p.width, p.stride, step, out + h * out_width * step + lane);
        });
    }
}

// 1 / (number of rows or columns of window w that lie inside).
inline float share(int64_t w, int64_t size, int64_t stride) {
    const int64_t left = at_least_0(w * stride - 1), right = at_most(w * stride + 1, size - 1);
    return 1.0f / static_cast<float>(right - left + 1);
}

inline void avg_pool(const Pool& p, float* out) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    for (int64_t h = 0; h < out_height; ++h) {
        const int64_t centre = h * p.stride;
        const float* middle = p.x + centre * p.width * step;
        const float* above = centre > 0 ? middle - p.width * step : nullptr;
        const float* below = centre + 1 < p.height ? middle + p.width * step : nullptr;
        const float by_row = share(h, p.height, p.stride);
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            for (int64_t w = 0; w < p.width; ++w) {
                const int64_t i = w * step + lane;
                V value = load<V>(middle + i);
                if (above != nullptr) value += load<V>(above + i);
                if (below != nullptr) value += load<V>(below + i);
                store<V>(p.buffer + i, value);
            }
            for (int64_t w = 0; w < out_width; ++w) {
                const int64_t c = w * p.stride;
                V value = load<V>(p.buffer + c * step + lane);
                if (c > 0) value += load<V>(p.buffer + (c - 1) * step + lane);
                if (c + 1 < p.width) value += load<V>(p.buffer + (c + 1) * step + lane);
                const float factor = by_row * share(w, p.width, p.stride);
                store<V>(out + (h * out_width + w) * step + lane, value * splat(&factor, V{}));
            }
        });
    }
}

// For every input row, the sum of the gradients of the windows over it, then the same for columns.
inline void avg_pool_backward(const Pool& p, const float* grad, float* dx) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    for (int64_t r = 0; r < p.height; ++r) {
        const int64_t first = r / p.stride - (p.stride == 1 && r > 0);
        const int64_t last = at_most((r + 1) / p.stride, out_height - 1);
        each_lane(p.lanes, [&](auto type, int64_t lane) {
            using V = decltype(type);
            for (int64_t w = 0; w < out_width; ++w) {
                const float by_column = share(w, p.width, p.stride);
                V value = zero<V>();
                for (int64_t h = first; h <= last; ++h) {
                    const float factor = by_column * share(h, p.height, p.stride);
                    value = fma(load<V>(grad + (h * out_width + w) * step + lane), splat(&factor, V{}), value);
                }
                store<V>(p.buffer + w * step + lane, value);
            }
            for (int64_t c = 0; c < p.width; ++c) {
                const int64_t left = c / p.stride - (p.stride == 1 && c > 0);
                const int64_t right = at_most((c + 1) / p.stride, out_width - 1);
                float* at = dx + (r * p.width + c) * step + lane;
                V value = load<V>(at);
                for (int64_t w = left; w <= right; ++w) value += load<V>(p.buffer + w * step + lane);
                store<V>(at, value);
            }
        });
    }
}

// The gradient of a window goes to the first of its greatest values: first row, then first column.
template <class V>
void max_pool_backward_lane(const Pool& p, const float* grad, float* dx, int64_t lane) {
    const int64_t out_height = pooled(p.height, p.stride), out_width = pooled(p.width, p.stride), step = p.lanes;
    float* maxima = p.buffer + lane;
    float* share_of_row = maxima + p.height * out_width * step;
    for (int64_t r = 0; r < p.height; ++r)
        row_maxima<V>(p.x + r * p.width * step + lane, p.width, p.stride, step, maxima + r * out_width * step);
    for (int64_t i = 0; i < p.height * out_width; ++i) store<V>(share_of_row + i * step, zero<V>());
    for (int64_t h = 0; h < out_height; ++h) {
        const int64_t first = at_least_0(h * p.stride - 1), last = at_most(h * p.stride + 1, p.height - 1);
        for (int64_t w = 0; w < out_width; ++w) {
            V left = load<V>(grad + (h * out_width + w) * step + lane);
            V value = load<V>(maxima + (first * out_width + w) * step);
            for (int64_t r = first + 1; r <= last; ++r)
                value = greatest(value, load<V>(maxima + (r * out_width + w) * step));
            for (int64_t r = first; r <= last; ++r) {
                const int64_t i = (r * out_width + w) * step;
                const auto here = load<V>(maxima + i) == value;
                store<V>(share_of_row + i, load<V>(share_of_row + i) + (here ? left : zero<V>()));
                left = here ? zero<V>() : left;
            }
        }
    }
    for (int64_t r = 0; r < p.height; ++r) {
        const float* x = p.x + r * p.width * step + lane;
        float* to = dx + r * p.width * step + lane;
        for (int64_t w = 0; w < out_width; ++w) {
            const int64_t first = at_least_0(w * p.stride - 1), last = at_most(w * p.stride + 1, p.width - 1);
            V left = load<V>(share_of_row + (r * out_width + w) * step);
            const V value = load<V>(maxima + (r * out_width + w) * step);
            for (int64_t c = first; c <= last; ++c) {
                const auto here = load<V>(x + c * step) == value;
                store<V>(to + c * step, load<V>(to + c * step) + (here ? left : zero<V>()));
                left = here ? zero<V>() : left;
            }
        }
    }
}

inline void max_pool_backward(const Pool& p, const float* grad, float* dx) {
    each_lane(p.lanes, [&](auto type, int64_t lane) { max_pool_backward_lane<decltype(type)>(p, grad, dx, lane); });
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
