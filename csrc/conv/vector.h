// Vectors of floats in the registers of one instruction set: Narrow holds part of 8 lanes, Wide is the widest.
// Included by isa/table.h only, once per instruction set.

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace autometa {
namespace AUTOMETA_ISA {

#if defined(__AVX2__)

typedef float Float8v __attribute__((vector_size(32)));
using Narrow = Float8v;
inline Narrow fma(Narrow a, Narrow b, Narrow c) { return _mm256_fmadd_ps(a, b, c); }
inline Narrow splat(const float* x, Narrow) { return _mm256_broadcast_ss(x); }

#else

typedef float Float4v __attribute__((vector_size(16)));
using Narrow = Float4v;
inline Narrow fma(Narrow a, Narrow b, Narrow c) { return a * b + c; }
inline Narrow splat(const float* x, Narrow) { return Narrow{*x, *x, *x, *x}; }

#endif

#if defined(__AVX512F__)

typedef float Float16v __attribute__((vector_size(64)));
using Wide = Float16v;
inline Wide fma(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }
inline Wide splat(const float* x, Wide) { return _mm512_set1_ps(*x); }

#else

using Wide = Narrow;

#endif

// Lanes of a vector type.
template <class V>
constexpr int64_t lanes() {
    return static_cast<int64_t>(sizeof(V) / sizeof(float));
}

template <class V>
inline V load(const float* from) {
    V value;
    __builtin_memcpy(&value, from, sizeof(V));  // no alignment assumed: template arguments lose such attributes
    return value;
}

template <class V>
inline void store(float* to, V value) {
    __builtin_memcpy(to, &value, sizeof(V));
}

template <class V>
inline V zero() {
    return V{};
}

// Greater of two, b where a is not a number.
template <class V>
inline V greater(V a, V b) {
    return a > b ? a : b;
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
