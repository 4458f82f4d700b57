#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
void finite_slots(const T* phi, bool* finite, int64_t slots, int64_t row, Stream stream) {
    launch_in_turn("finite_slots", TrueBody{finite, slots},
                   FiniteBody<T>{phi, finite, slots, row, rows_aligned<T>(row, phi)}, stream);
}

template void finite_slots<float>(const float*, bool*, int64_t, int64_t, Stream);
template void finite_slots<double>(const double*, bool*, int64_t, int64_t, Stream);

}  // namespace cuda
}  // namespace autometa
