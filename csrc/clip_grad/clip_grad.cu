#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
int64_t clip_grad_scratch(int64_t slots, int64_t row, int64_t kinds) {
    return slots * kinds * ClipTiles<T>(row).per_row;
}

template <class T>
void clip_grad(T* grad, T* norms, const double* max_norm, double* partial, const Arena& arena, Stream stream) {
    const bool aligned = rows_aligned<T>(arena.row, grad);
    launch_in_turn<sizeof(T) == 4 ? 4 : 3>("clip_grad", SquaresBody<T>{grad, partial, arena, aligned},
                                           ClipBody<T>{grad, norms, max_norm, partial, arena, aligned}, stream);
}

template int64_t clip_grad_scratch<float>(int64_t, int64_t, int64_t);
template int64_t clip_grad_scratch<double>(int64_t, int64_t, int64_t);
template void clip_grad<float>(float*, float*, const double*, double*, const Arena&, Stream);
template void clip_grad<double>(double*, double*, const double*, double*, const Arena&, Stream);

}  // namespace cuda
}  // namespace autometa
