// Inner loops that exist once per instruction set, and the table of those in use.
#pragma once

#include <cstdint>

#include "../adam/formula.h"
#include "conv_kernels.h"

namespace autometa {

template <class T>
struct ArenaKernels {
    void (*adam)(T* p, const T* g, T* v, T* m, int64_t n, const AdamStep<T>& step);
    void (*sgd)(T* p, const T* g, T* velocity, int64_t n, T rate, T decay, T momentum);
    // phi holds `members` row pointers; columns first .. first + n - 1 of each.
    void (*reptile)(T* theta, const T* const* phi, int64_t members, int64_t first, int64_t n, double step_size);
    double (*sum_of_squares)(const T* x, int64_t n);
    void (*scale)(T* x, int64_t n, T factor);
    bool (*all_finite)(const T* x, int64_t n);
};

struct HeadKernels {
    double (*dot)(const float* x, const float* y, int64_t n);
    void (*add_scaled)(double* total, const float* x, double factor, int64_t n);
    void (*sum_pixels)(double* total, const float* x, int64_t pixels, int64_t lanes);
};

struct Kernels {
    const char* name;
    ArenaKernels<float> f32;
    ArenaKernels<double> f64;
    void (*scale_bytes)(const uint8_t* from, float* to, int64_t n, float scale, float shift);
    HeadKernels head;
    ConvKernels conv;
};

// The table in use: the widest the machine has, unless use_kernels chose another.
const Kernels& kernels();

// Names that use_kernels accepts on this machine: entry i, or null past the end.
const char* kernels_name(int i);

// Switch to "portable", "avx2" or "avx512"; false where this build or machine lacks it.
bool use_kernels(const char* name);

template <class T>
const ArenaKernels<T>& arena_kernels();
template <>
inline const ArenaKernels<float>& arena_kernels<float>() {
    return kernels().f32;
}
template <>
inline const ArenaKernels<double>& arena_kernels<double>() {
    return kernels().f64;
}

}  // namespace autometa
