#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

void augment_images(const float* images, AugmentShape shape, const int64_t* task_ids, const int64_t* place,
                    const AugmentRanges& most, uint32_t seed, float* out, Stream stream) {
    launch<3>("augment_images", AugmentBody{images, shape, task_ids, place, most, seed, out}, stream);
}

}  // namespace cuda
}  // namespace autometa
