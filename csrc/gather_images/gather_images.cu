#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

void gather_images(const uint8_t* images, ImageShape shape, const int64_t* index, const int64_t* rotation,
                   int64_t picks, const float* scale, const float* shift, float* out, Stream stream) {
    GatherBody body{images, shape, index, rotation, picks, scale, shift, out, false};
    if (body.size() >= int64_t{1} << 31)
        throw std::invalid_argument("gather_images: an image of more than 2^31 - 1 bytes");
    body.aligned = rows_aligned<float>(body.size(), out) && reinterpret_cast<uintptr_t>(images) % body.kLanes == 0;
    launch("gather_images", body, stream);
}

}  // namespace cuda
}  // namespace autometa
