#include "body.h"

#include "autometa_cuda.h"
#include "cuda_launch.h"

namespace autometa {
namespace cuda {

void sample_tasks(const int64_t* class_start, int64_t all_classes, const int64_t* classes, int64_t selectable,
                  const int64_t* group_start, int64_t groups, const int64_t* task_ids, int64_t tasks, TaskShape shape, uint32_t seed, int64_t* image,
                  int64_t* rotation, int64_t* chosen, Stream stream) {
    launch("sample_tasks", SampleBody{class_start, all_classes, classes, selectable, group_start, groups, task_ids, tasks,
                                      shape, seed, image, rotation, chosen}, stream);
}

}  // namespace cuda
}  // namespace autometa
