#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

int64_t adam_scratch(int64_t slots, int64_t kinds) {
    return slots * kinds * static_cast<int64_t>(sizeof(AdamStep<float>) / sizeof(float));
}

template <class T>
void adam(T* phi, const T* grad, T* second, T* first, int64_t* steps, const double* lr, const double* weight_decay,
          T* constants, const Arena& arena, AdamConstants betas, Stream stream) {
    auto* table = reinterpret_cast<AdamStep<T>*>(constants);
    launch("adam", AdamStepBody<T>{table, steps, lr, weight_decay, arena, betas}, stream);
    if (first == nullptr)
        launch("adam", RowUpdate<T, 2, AdamRule<T>>{{phi, second}, grad, {table}, arena,
                                                    rows_aligned<T>(arena.row, phi, grad, second)}, stream);
    else
        launch("adam", RowUpdate<T, 3, AdamRule<T>>{{phi, second, first}, grad, {table}, arena,
                                                    rows_aligned<T>(arena.row, phi, grad, second, first)}, stream);
}

template void adam<float>(float*, const float*, float*, float*, int64_t*, const double*, const double*, float*,
                          const Arena&, AdamConstants, Stream);
template void adam<double>(double*, const double*, double*, double*, int64_t*, const double*, const double*, double*,
                           const Arena&, AdamConstants, Stream);

}  // namespace cuda
}  // namespace autometa
