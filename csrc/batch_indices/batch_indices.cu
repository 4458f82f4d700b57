#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

void batch_indices(const int64_t* task_ids, int64_t tasks, BatchShape shape, bool passes, uint32_t seed,
                   int64_t* index, Stream stream) {
    launch("batch_indices", BatchBody{task_ids, tasks, shape, passes, seed, index}, stream);
}

}  // namespace cuda
}  // namespace autometa
