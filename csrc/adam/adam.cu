#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
void adam(T* phi, const T* grad, T* second, T* first, int64_t* steps, const double* lr, const double* weight_decay,
          const Arena& arena, AdamConstants constants, Stream stream) {
    const AdamRule<T> rule{steps, lr, weight_decay, constants};
    if (first == nullptr)
        launch<3>("adam", RowUpdate<T, 2, AdamRule<T>>{{phi, second}, grad, rule, arena,
                                                       rows_aligned<T>(arena.row, phi, grad, second)}, stream);
    else
        launch<3>("adam", RowUpdate<T, 3, AdamRule<T>>{{phi, second, first}, grad, rule, arena,
                                                       rows_aligned<T>(arena.row, phi, grad, second, first)}, stream);
}

template void adam<float>(float*, const float*, float*, float*, int64_t*, const double*, const double*, const Arena&,
                          AdamConstants, Stream);
template void adam<double>(double*, const double*, double*, double*, int64_t*, const double*, const double*,
                           const Arena&, AdamConstants, Stream);

}  // namespace cuda
}  // namespace autometa
