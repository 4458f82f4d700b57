// Vectors of floats in the registers of one instruction set: Narrow holds part of 8 lanes, Wide is the widest.
// or_nan(value, a, b): value, but not a number where a or b is none. any_nan(a): whether a lane is none.
// Included by isa/table.h only, once per instruction set.

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace autometa {
namespace AUTOMETA_ISA {

#if defined(__AVX2__)

typedef float Float8v __attribute__((vector_size(32)));
using Narrow = Float8v;
inline Narrow fma(Narrow a, Narrow b, Narrow c) { return _mm256_fmadd_ps(a, b, c); }
inline Narrow splat(const float* x, Narrow) { return _mm256_broadcast_ss(x); }
inline Narrow or_nan(Narrow value, Narrow a, Narrow b) { return _mm256_or_ps(value, _mm256_cmp_ps(a, b, _CMP_UNORD_Q)); }
inline bool any_nan(Narrow a) { return _mm256_movemask_ps(_mm256_cmp_ps(a, a, _CMP_UNORD_Q)) != 0; }

#else

typedef float Float4v __attribute__((vector_size(16)));
using Narrow = Float4v;
inline Narrow fma(Narrow a, Narrow b, Narrow c) { return a * b + c; }
inline Narrow splat(const float* x, Narrow) { return Narrow{*x, *x, *x, *x}; }
#if defined(__SSE2__)
inline Narrow or_nan(Narrow value, Narrow a, Narrow b) { return _mm_or_ps(value, _mm_cmpunord_ps(a, b)); }
inline bool any_nan(Narrow a) { return _mm_movemask_ps(_mm_cmpunord_ps(a, a)) != 0; }
#else
typedef int Int4v __attribute__((vector_size(16)));
inline Narrow or_nan(Narrow value, Narrow a, Narrow b) { return (Narrow)((Int4v)value | (a != a) | (b != b)); }
inline bool any_nan(Narrow a) {
    const Int4v found = a != a;
    return (found[0] | found[1] | found[2] | found[3]) != 0;
}
#endif

#endif

#if defined(__AVX512F__)

typedef float Float16v __attribute__((vector_size(64)));
using Wide = Float16v;
inline Wide fma(Wide a, Wide b, Wide c) { return _mm512_fmadd_ps(a, b, c); }
inline Wide splat(const float* x, Wide) { return _mm512_set1_ps(*x); }
inline Wide or_nan(Wide value, Wide a, Wide b) {
    return _mm512_mask_mov_ps(value, _mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q), _mm512_set1_ps(__builtin_nanf("")));
}
inline bool any_nan(Wide a) { return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q) != 0; }

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

// Greatest of two or three, not a number where one is none.
template <class V>
inline V greatest(V a, V b) {
    return or_nan(greater(a, b), a, a);
}
template <class V>
inline V greatest(V a, V b, V c) {
    return or_nan(greater(greater(a, b), c), a, b);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
