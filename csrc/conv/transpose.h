// Weights change between the order of the parameters and that of the products by transposition.
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

typedef float Quad __attribute__((vector_size(16)));

#if defined(__clang__)
inline Quad low(Quad a, Quad b) { return __builtin_shufflevector(a, b, 0, 4, 1, 5); }
inline Quad high(Quad a, Quad b) { return __builtin_shufflevector(a, b, 2, 6, 3, 7); }
#else
typedef int32_t QuadIndex __attribute__((vector_size(16)));
inline Quad low(Quad a, Quad b) { return __builtin_shuffle(a, b, QuadIndex{0, 4, 1, 5}); }
inline Quad high(Quad a, Quad b) { return __builtin_shuffle(a, b, QuadIndex{2, 6, 3, 7}); }
#endif

// Rows r .. r + 3, columns c .. c + 3.
inline void transpose_quad(const Transpose& t, int64_t r, int64_t c) {
    const Quad a0 = load<Quad>(t.in + t.in_row[r] + c), a1 = load<Quad>(t.in + t.in_row[r + 1] + c);
    const Quad a2 = load<Quad>(t.in + t.in_row[r + 2] + c), a3 = load<Quad>(t.in + t.in_row[r + 3] + c);
    const Quad even_low = low(a0, a2), odd_low = low(a1, a3), even_high = high(a0, a2), odd_high = high(a1, a3);
    store<Quad>(t.out + t.out_row[c] + r, low(even_low, odd_low));
    store<Quad>(t.out + t.out_row[c + 1] + r, high(even_low, odd_low));
    store<Quad>(t.out + t.out_row[c + 2] + r, low(even_high, odd_high));
    store<Quad>(t.out + t.out_row[c + 3] + r, high(even_high, odd_high));
}

// In squares whose rows, read and written, stay in the nearest cache.
inline void transpose(const Transpose& t) {
    constexpr int64_t kSide = 32;
    const int64_t rows = t.rows / 4 * 4, cols = t.cols / 4 * 4;
    for (int64_t top = 0; top < rows; top += kSide)
        for (int64_t left = 0; left < cols; left += kSide)
            for (int64_t r = top; r < at_most(top + kSide, rows); r += 4)
                for (int64_t c = left; c < at_most(left + kSide, cols); c += 4) transpose_quad(t, r, c);
    for (int64_t r = 0; r < t.rows; ++r)
        for (int64_t c = r < rows ? cols : 0; c < t.cols; ++c) t.out[t.out_row[c] + r] = t.in[t.in_row[r] + c];
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
