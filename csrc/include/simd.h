// Eight doubles side by side, in whatever registers the instruction set has.
// Included by isa/table.h only, once per instruction set.

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace autometa {
namespace AUTOMETA_ISA {

#if defined(__GNUC__)

typedef double Double8 __attribute__((vector_size(64), aligned(8)));
typedef float Float8 __attribute__((vector_size(32), aligned(4)));

inline Double8 load8(const double* from) { return *reinterpret_cast<const Double8*>(from); }
inline Double8 load8(const float* from) {
#if defined(__AVX512F__)  // left alone, the compiler converts in halves; a full mask avoids a false warning
    return reinterpret_cast<Double8>(_mm512_maskz_cvtps_pd(0xFF, _mm256_loadu_ps(from)));
#else
    return __builtin_convertvector(*reinterpret_cast<const Float8*>(from), Double8);
#endif
}
inline void store8(double* to, Double8 value) { *reinterpret_cast<Double8*>(to) = value; }

#else

struct Double8 {
    double lane[8];
    Double8& operator+=(const Double8& other) {
        for (int i = 0; i < 8; ++i) lane[i] += other.lane[i];
        return *this;
    }
};

inline Double8 operator*(const Double8& a, const Double8& b) {
    Double8 product;
    for (int i = 0; i < 8; ++i) product.lane[i] = a.lane[i] * b.lane[i];
    return product;
}

template <class T>
inline Double8 load8(const T* from) {
    Double8 value;
    for (int i = 0; i < 8; ++i) value.lane[i] = from[i];
    return value;
}
inline void store8(double* to, const Double8& value) {
    for (int i = 0; i < 8; ++i) to[i] = value.lane[i];
}

#endif

}  // namespace AUTOMETA_ISA
}  // namespace autometa
