// The CUDA kernel that draws tasks; see device_block.h for how it is written.
#pragma once

#include "arena.h"
#include "device_block.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// A block draws one task: one thread its classes, then one thread per class its images. Lists under construction stand
// in shared memory where they fit, else where the results go.
struct SampleBody {
    static constexpr int64_t kRoom = 3072;
    struct Shared {
        int64_t list[kRoom];
    };
    const int64_t* class_start;
    int64_t all_classes;
    const int64_t* classes;
    int64_t selectable;
    const int64_t* group_start;
    int64_t groups;
    const int64_t* task_ids;
    int64_t tasks;
    TaskShape shape;
    uint32_t seed;
    int64_t *image, *rotation, *chosen;

    int64_t blocks() const { return tasks; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared& shared) const {
        const int64_t ways = shape.ways, each = shape.shots + shape.queries;
        const bool fits = ways + ways * each <= kRoom;
        int64_t* its_classes = chosen + block.index * ways;
        int64_t* its_images = image + block.index * ways * each;
        int64_t* drawn = fits ? shared.list : its_classes;
        int64_t* found = fits ? shared.list + ways : its_images;
        block.each([&](int thread) {
            if (thread != 0) return;
            Draws draws = draws_of(block.index);
            const Group group = group_of(draws, static_cast<uint64_t>(ways + ways * each), group_start, groups);
            permutation(draws, 0, ways, group.count * shape.rotations, drawn);
            for (int64_t way = 0; way < ways; ++way)
                drawn[way] = group.turns(drawn[way]) * selectable + group.place(drawn[way]);
        });
        block.each([&](int thread) {
            for (int64_t way = thread; way < ways; way += kThreads) {
                Draws draws = draws_of(block.index);
                pick_images(draws, way, drawn[way], found + way * each);
                rotation[block.index * ways + way] = drawn[way] / selectable;
            }
        });
        if (!fits) return;
        block.finally([&](int thread) {
            for (int64_t i = thread; i < ways; i += kThreads) its_classes[i] = drawn[i];
            for (int64_t i = thread; i < ways * each; i += kThreads) its_images[i] = found[i];
        });
    }

    AUTOMETA_BOTH Draws draws_of(int64_t task) const {
        return Draws(seed, kTask, static_cast<uint64_t>(task_ids[task]));
    }

    AUTOMETA_BOTH void pick_images(Draws& draws, int64_t way, int64_t virtual_class, int64_t* found) const {
        const int64_t each = shape.shots + shape.queries;
        const int64_t real = clamped(classes[virtual_class % selectable], all_classes);
        const int64_t start = class_start[real], size = class_start[real + 1] - start;
        permutation(draws, static_cast<uint64_t>(shape.ways + way * each), each, size < each ? each : size, found);
        for (int64_t i = 0; i < each; ++i) found[i] += start;
    }
};

}  // namespace cuda
}  // namespace autometa
