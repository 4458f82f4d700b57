#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
void reptile(T* theta, const T* phi, const double* step_size, const bool* finite, const Arena& arena, Stream stream) {
    launch("reptile",
           ReptileBody<T>{theta, phi, step_size, finite, arena, rows_aligned<T>(arena.row, theta, phi)}, stream);
}

template void reptile<float>(float*, const float*, const double*, const bool*, const Arena&, Stream);
template void reptile<double>(double*, const double*, const double*, const bool*, const Arena&, Stream);

}  // namespace cuda
}  // namespace autometa
