// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

// Sums run over the members in order and in double, so that they depend on nothing but the numbers;
// several members per pass keep the sums in registers.
template <class T>
void reptile(T* __restrict theta, const T* const* phi, int64_t members, int64_t first, int64_t n, double step_size) {
    constexpr int64_t tile = 512;
    double start[tile], total[tile];
    const double count = static_cast<double>(members);
    for (int64_t at = 0; at < n; at += tile) {
        const int64_t width = n - at < tile ? n - at : tile;
        T* __restrict t = theta + first + at;
        for (int64_t i = 0; i < width; ++i) {
            start[i] = t[i];
            total[i] = 0.0;
        }
        int64_t s = 0;
        for (; s + 4 <= members; s += 4) {
            const T* a = phi[s] + first + at;
            const T* b = phi[s + 1] + first + at;
            const T* c = phi[s + 2] + first + at;
            const T* d = phi[s + 3] + first + at;
            for (int64_t i = 0; i < width; ++i) {
                const double sum = total[i] + (a[i] - start[i]) + (b[i] - start[i]);
                total[i] = sum + (c[i] - start[i]) + (d[i] - start[i]);
            }
        }
        for (; s < members; ++s) {
            const T* a = phi[s] + first + at;
            for (int64_t i = 0; i < width; ++i) total[i] += a[i] - start[i];
        }
        for (int64_t i = 0; i < width; ++i) t[i] = static_cast<T>(start[i] + step_size * (total[i] / count));
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
