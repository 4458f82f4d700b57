// Compiled once per instruction set: define AUTOMETA_ISA, include this, and `table()` is that set's.
// Nothing here may come from an inline function of the standard library: the linker keeps one copy of
// such a function, and it could be the one with instructions that the machine lacks.

#include <math.h>
#include <stdint.h>

#include "kernels.h"

#ifdef _MSC_VER
#define __restrict __restrict
#endif

namespace autometa {
namespace AUTOMETA_ISA {

// Ask for a cache line that will be read soon; any address will do.
inline void prefetch(const void* address) {
#if defined(__GNUC__)
    __builtin_prefetch(address, 0, 3);
#else
    (void)address;
#endif
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa

#include "simd.h"

#include "../gather_images/formula.h"
#include "../reptile/formula.h"
#include "../sgd/formula.h"

#include "../adam/kernel.h"
#include "../clip_grad/kernel.h"
#include "../conv/vector.h"
#include "../conv/tap_gemm.h"
#include "../conv/tap_outer.h"
#include "../conv/maps.h"
#include "../conv/depthwise.h"
#include "../conv/pool.h"
#include "../conv/norm_pool.h"
#include "../conv/transpose.h"
#include "../conv/winograd_kernel.h"
#include "../finite_slots/kernel.h"
#include "../gather_images/kernel.h"
#include "../linear_head/kernel.h"
#include "../reptile/kernel.h"
#include "../sgd/kernel.h"

namespace autometa {
namespace AUTOMETA_ISA {

template <class T>
constexpr ArenaKernels<T> arena_table() {
    return {&adam<T>, &sgd<T>, &reptile<T>, &sum_of_squares<T>, &scale<T>, &all_finite<T>};
}

extern const Kernels table;
const Kernels table = {AUTOMETA_ISA_NAME, arena_table<float>(), arena_table<double>(), &scale_bytes,
                       {&dot, &add_scaled, &sum_pixels},
                       {&tap_gemm, &tap_outer, &depthwise, &depthwise_outer, &max_pool, &avg_pool,
                        &max_pool_backward, &avg_pool_backward, &affine_relu, &combine, &add_gated, &gated,
                        &moments, &products, &norm_pool, &norm_pool_sums, &norm_pool_backward, &transpose, &transform}};

}  // namespace AUTOMETA_ISA
}  // namespace autometa
