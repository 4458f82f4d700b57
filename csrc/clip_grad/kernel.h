// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

// Sixteen sums side by side, whatever the vector width, so that every instruction set adds in one order.
template <class T>
double sum_of_squares(const T* __restrict x, int64_t n) {
    constexpr int lanes = 16;
    double sum[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) {
            const double value = x[i + lane];
            sum[lane] += value * value;
        }
    for (int lane = 0; i < n; ++i, ++lane) {
        const double value = x[i];
        sum[lane] += value * value;
    }
    for (int half = lanes / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
    return sum[0];
}

template <class T>
void scale(T* __restrict x, int64_t n, T factor) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor;
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
