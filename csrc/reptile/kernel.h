// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

// total += phi[0] + phi[1] + ... in this order, for `Members` rows at once. Each line of a row asks for
// the line `ahead` further on: stretches are too short for the hardware to notice them.
template <int Members, class T>
void add_rows(double* total, const T* const* phi, int64_t first, int64_t n, int64_t ahead) {
    const T* row[Members];
    for (int m = 0; m < Members; ++m) row[m] = phi[m] + first;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        Double8 low = load8(total + i), high = load8(total + i + 8);
        for (int m = 0; m < Members; ++m) {
            prefetch(row[m] + i + ahead);
            low += load8(row[m] + i);
            high += load8(row[m] + i + 8);
        }
        store8(total + i, low);
        store8(total + i + 8, high);
    }
    for (; i < n; ++i)
        for (int m = 0; m < Members; ++m) total[i] += row[m][i];
}

// Sums run over the members in order and in double, so that they depend on nothing but the numbers; several members
// per pass keep them in registers.
template <class T>
void reptile(T* __restrict theta, const T* const* phi, int64_t members, int64_t first, int64_t n, double step_size) {
    constexpr int64_t tile = 256;
    alignas(64) double total[tile];
    const double count = static_cast<double>(members);
    for (int64_t at = 0; at < n; at += tile) {
        const int64_t width = n - at < tile ? n - at : tile, from = first + at;
        const int64_t ahead = at + width < n ? tile : 0;
        for (int64_t i = 0; i < width; ++i) total[i] = 0.0;
        int64_t s = 0;
        for (; s + 8 <= members; s += 8) add_rows<8>(total, phi + s, from, width, ahead);
        for (; s + 4 <= members; s += 4) add_rows<4>(total, phi + s, from, width, ahead);
        for (; s + 2 <= members; s += 2) add_rows<2>(total, phi + s, from, width, ahead);
        for (; s < members; ++s) add_rows<1>(total, phi + s, from, width, ahead);
        T* __restrict t = theta + from;
        for (int64_t i = 0; i < width; ++i) t[i] = reptile_element(t[i], total[i], count, step_size);
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
