#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
void sgd(T* phi, const T* grad, T* velocity, const double* lr, const double* weight_decay, const Arena& arena,
         double momentum, Stream stream) {
    const SgdRule<T> rule{lr, weight_decay, momentum};
    if (velocity == nullptr)
        launch("sgd", RowUpdate<T, 1, SgdRule<T>>{{phi}, grad, rule, arena, rows_aligned<T>(arena.row, phi, grad)},
               stream);
    else
        launch("sgd", RowUpdate<T, 2, SgdRule<T>>{{phi, velocity}, grad, rule, arena,
                                                  rows_aligned<T>(arena.row, phi, grad, velocity)}, stream);
}

template void sgd<float>(float*, const float*, float*, const double*, const double*, const Arena&, double, Stream);
template void sgd<double>(double*, const double*, double*, const double*, const double*, const Arena&, double, Stream);

}  // namespace cuda
}  // namespace autometa
