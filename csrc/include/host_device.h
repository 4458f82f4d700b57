// Formulas that the C++ core and the CUDA kernels share.
#pragma once

#include <math.h>
#include <stdint.h>

// A formula has internal linkage: every instruction set's file has a copy of its own, which the linker cannot mix up.
#if defined(__CUDACC__)
#define AUTOMETA_BOTH __host__ __device__
#else
#define AUTOMETA_BOTH
#endif
#if defined(__CUDA_ARCH__)
#define AUTOMETA_UNROLL _Pragma("unroll")
#else
#define AUTOMETA_UNROLL
#endif
#define AUTOMETA_FORMULA static inline AUTOMETA_BOTH

namespace autometa {

AUTOMETA_FORMULA float square_root(float x) { return ::sqrtf(x); }
AUTOMETA_FORMULA double square_root(double x) { return ::sqrt(x); }

// A number times 0 is 0 only where it is finite.
template <class T>
AUTOMETA_FORMULA bool is_finite(T x) {
    return x * T(0) == T(0);
}

// x, or the nearest of 0 .. limit - 1; 0 where there is none.
AUTOMETA_FORMULA int64_t clamped(int64_t x, int64_t limit) {
    const int64_t most = x < limit ? x : limit - 1;
    return most < 0 ? 0 : most;
}

// Adds to a number that many blocks add to, and returns what it was before. On the host blocks may run in several
// threads, too.
AUTOMETA_FORMULA uint64_t fetch_add(int64_t* at, uint64_t x) {
#if defined(__CUDA_ARCH__)
    return atomicAdd(reinterpret_cast<unsigned long long*>(at), static_cast<unsigned long long>(x));
#elif defined(__GNUC__)
    return __atomic_fetch_add(reinterpret_cast<uint64_t*>(at), x, __ATOMIC_RELAXED);
#else
    const uint64_t before = static_cast<uint64_t>(*at);
    *at = static_cast<int64_t>(before + x);
    return before;
#endif
}

}  // namespace autometa
