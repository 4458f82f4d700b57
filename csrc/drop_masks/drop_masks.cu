#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

template <class T>
void drop_masks(const int64_t* task_ids, int64_t tasks, const bool* exempt, MaskShape shape, uint32_t seed, T* mask,
                Stream stream) {
    launch("drop_masks", DropBody<T>{task_ids, tasks, exempt, shape, seed, mask}, stream);
}

template void drop_masks<float>(const int64_t*, int64_t, const bool*, MaskShape, uint32_t, float*, Stream);
template void drop_masks<double>(const int64_t*, int64_t, const bool*, MaskShape, uint32_t, double*, Stream);

}  // namespace cuda
}  // namespace autometa
