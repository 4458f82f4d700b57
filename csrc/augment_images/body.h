// The CUDA kernel that changes images at random; see device_block.h for how it is written.
#pragma once

#include "device_block.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// A thread makes one value, from the 25 pixels, read between others, that it may depend on.
struct AugmentBody {
    using Shared = Nothing;
    const float* images;
    AugmentShape shape;
    const int64_t *task_ids, *place;
    AugmentRanges most;
    uint32_t seed;
    float* out;

    AUTOMETA_BOTH int64_t plane() const { return shape.height * shape.width; }
    AUTOMETA_BOTH int64_t values() const { return shape.tasks * shape.picks * shape.channels * plane(); }
    int64_t blocks() const { return (values() + kThreads - 1) / kThreads; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Nothing&) const {
        block.finally([&](int thread) {
            const int64_t at = block.index * kThreads + thread;
            if (at >= values()) return;
            const int64_t image = at / (shape.channels * plane()), value = at - image * shape.channels * plane();
            const int64_t channel = value / plane(), pixel = value - channel * plane();
            const Extent extent = extent_of(shape);
            const auto row = static_cast<int32_t>(pixel / extent.width);
            const auto column = static_cast<int32_t>(pixel - static_cast<int64_t>(row) * extent.width);
            const float* from = images + (at - pixel);
            Draws draws(seed, kAugment, static_cast<uint64_t>(task_ids[image / shape.picks]));
            const uint64_t first = first_draw(shape, place[image]);
            const Augmentation how = augmentation(draws, shape, most, first);
            const bool moved = most.shift != 0.0 || most.scale != 0.0 || most.half_turn != 0.0 || most.shear != 0.0;
            const auto read = [&](int32_t y, int32_t x) {
                return moved ? warped(from, extent, how, y, x) : from[y * extent.width + x];
            };
            const auto thick = [&](int32_t y, int32_t x) {
                return most.thickness != 0.0 ? thickened(read, extent, how.thickness, y, x) : read(y, x);
            };
            const float found =
                most.blur != 0.0 ? blurred(thick, extent, how.blur, row, column) : thick(row, column);
            const uint64_t number = first + static_cast<uint64_t>(kAugmentDraws + value);
            out[at] = toned(found, how, most, most.noise != 0.0 ? draws(number) : 0);
        });
    }
};

}  // namespace cuda
}  // namespace autometa
