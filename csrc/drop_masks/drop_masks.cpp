#include "formula.h"

#include <stdexcept>

#include "autometa.h"

namespace autometa {

template <class T>
void drop_masks(const int64_t* task_ids, int64_t tasks, const bool* exempt, MaskShape shape, uint32_t seed, T* mask,
                int) {
    const int64_t begin = shape.first_image * shape.instances;
    for (int64_t task = 0; task < tasks; ++task) {
        if (task_ids[task] < 0) throw std::invalid_argument("task_ids must be at least 0");
        Draws draws(seed, kDropPath, static_cast<uint64_t>(task_ids[task]));
        int64_t draw = begin;
        for (int64_t image = 0; image < shape.images; ++image)
            for (int64_t i = 0; i < shape.instances; ++i)
                *mask++ = drop_mask<T>(draws(static_cast<uint64_t>(draw++)), exempt[i], shape);
    }
}

template void drop_masks<float>(const int64_t*, int64_t, const bool*, MaskShape, uint32_t, float*, int);
template void drop_masks<double>(const int64_t*, int64_t, const bool*, MaskShape, uint32_t, double*, int);

}  // namespace autometa
