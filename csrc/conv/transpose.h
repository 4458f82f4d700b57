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

inline void transpose(const Transpose& t) {
    const int64_t rows = t.rows / 4 * 4, cols = t.cols / 4 * 4;
    for (int64_t r = 0; r < rows; r += 4) {
        const float* in[4];
        for (int i = 0; i < 4; ++i) in[i] = t.in + t.in_row[r + i];
        for (int64_t c = 0; c < cols; c += 4) {
            const Quad a = load<Quad>(in[0] + c), b = load<Quad>(in[1] + c);
            const Quad d = load<Quad>(in[2] + c), e = load<Quad>(in[3] + c);
            const Quad ad = low(a, d), be = low(b, e), ad_high = high(a, d), be_high = high(b, e);
            store<Quad>(t.out + t.out_row[c] + r, low(ad, be));
            store<Quad>(t.out + t.out_row[c + 1] + r, high(ad, be));
            store<Quad>(t.out + t.out_row[c + 2] + r, low(ad_high, be_high));
            store<Quad>(t.out + t.out_row[c + 3] + r, high(ad_high, be_high));
        }
    }
    for (int64_t r = 0; r < t.rows; ++r)
        for (int64_t c = r < rows ? cols : 0; c < t.cols; ++c) t.out[t.out_row[c] + r] = t.in[t.in_row[r] + c];
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
