// Included once per instruction set, see isa/table.h. Everything adds in double and in one order.

namespace autometa {
namespace AUTOMETA_ISA {

// x[0] y[0] + x[1] y[1] + ..., sixteen sums side by side.
inline double dot(const float* x, const float* y, int64_t n) {
    constexpr int lanes = 16;
    Double8 part[lanes / 8] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int p = 0; p < lanes / 8; ++p) part[p] += load8(x + i + 8 * p) * load8(y + i + 8 * p);
    double sum[lanes];
    for (int p = 0; p < lanes / 8; ++p) store8(sum + 8 * p, part[p]);
    for (int lane = 0; i < n; ++i, ++lane) sum[lane] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    for (int half = lanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
    return sum[0];
}

// total += factor * x.
inline void add_scaled(double* __restrict total, const float* __restrict x, double factor, int64_t n) {
    for (int64_t i = 0; i < n; ++i) total[i] += factor * static_cast<double>(x[i]);
}

// total[0 .. lanes - 1] = the sum of the pixels of an image; lanes is a multiple of 8.
inline void sum_pixels(double* __restrict total, const float* __restrict x, int64_t pixels, int64_t lanes) {
    for (int64_t lane = 0; lane < lanes; lane += 8) {
        Double8 even = {}, odd = {};
        int64_t p = 0;
        for (; p + 2 <= pixels; p += 2) {
            even += load8(x + p * lanes + lane);
            odd += load8(x + (p + 1) * lanes + lane);
        }
        if (p < pixels) even += load8(x + p * lanes + lane);
        even += odd;
        store8(total + lane, even);
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
