// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

// A number times 0 is 0 only where it is finite; the sum of such products is NaN otherwise.
template <class T>
bool all_finite(const T* __restrict x, int64_t n) {
    constexpr int lanes = 64;
    T sum[lanes] = {};
    int64_t i = 0;
    for (; i + lanes <= n; i += lanes)
        for (int lane = 0; lane < lanes; ++lane) sum[lane] += x[i + lane] * T(0);
    T total = 0;
    for (; i < n; ++i) total += x[i] * T(0);
    for (int lane = 0; lane < lanes; ++lane) total += sum[lane];
    return total == T(0);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
