// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

// Thirty-two sums side by side, whatever the vector width, so that every instruction set adds in one order.
template <class T>
double sum_of_squares(const T* x, int64_t n) {
    constexpr int lanes = 32;
    Double8 part[lanes / 8] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int p = 0; p < lanes / 8; ++p) {
            const Double8 value = load8(x + i + 8 * p);
            part[p] += value * value;
        }
    double sum[lanes];
    for (int p = 0; p < lanes / 8; ++p) store8(sum + 8 * p, part[p]);
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
