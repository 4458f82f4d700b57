#include "formula.h"

#include <stdexcept>
#include <utility>
#include <vector>

#include "autometa.h"
#include "parallel.h"

namespace autometa {

namespace {

// to [height, width] = value(row, column).
template <class Value>
void fill(float* to, Extent extent, const Value& value) {
    for (int32_t row = 0; row < extent.height; ++row)
        for (int32_t column = 0; column < extent.width; ++column) to[row * extent.width + column] = value(row, column);
}

}  // namespace

void augment_images(const float* images, AugmentShape shape, const int64_t* task_ids, const int64_t* place,
                    const AugmentRanges& most, uint32_t seed, float* out, int threads) {
    const int64_t plane = shape.height * shape.width, size = shape.channels * plane, all = shape.tasks * shape.picks;
    for (int64_t task = 0; task < shape.tasks; ++task)
        if (task_ids[task] < 0) throw std::invalid_argument("task_ids must be at least 0");
    for (int64_t i = 0; i < all; ++i)
        if (place[i] < 0) throw std::invalid_argument("place must be at least 0");
    const Extent extent = extent_of(shape);
    const bool moved = most.shift != 0.0 || most.scale != 0.0 || most.half_turn != 0.0 || most.shear != 0.0;
    parallel_for(all, useful_threads(8 * all * size, threads), [&](int64_t image) {
        static thread_local std::vector<float> one, two;
        if (static_cast<int64_t>(one.size()) < plane) {
            one.resize(static_cast<size_t>(plane));
            two.resize(static_cast<size_t>(plane));
        }
        Draws draws(seed, kAugment, static_cast<uint64_t>(task_ids[image / shape.picks]));
        const uint64_t first = first_draw(shape, place[image]);
        const Augmentation how = augmentation(draws, shape, most, first);
        for (int64_t channel = 0; channel < shape.channels; ++channel) {
            const float* from = images + image * size + channel * plane;
            float *to = one.data(), *other = two.data();
            const auto read = [&](int32_t row, int32_t column) { return from[row * extent.width + column]; };
            const auto step = [&](const auto& value) {
                fill(to, extent, value);
                from = to;
                std::swap(to, other);
            };
            if (moved) step([&](int32_t row, int32_t column) { return warped(from, extent, how, row, column); });
            if (most.thickness != 0.0)
                step([&](int32_t row, int32_t column) { return thickened(read, extent, how.thickness, row, column); });
            if (most.blur != 0.0)
                step([&](int32_t row, int32_t column) { return blurred(read, extent, how.blur, row, column); });
            float* end = out + image * size + channel * plane;
            for (int64_t i = 0; i < plane; ++i) {
                const uint64_t number = first + static_cast<uint64_t>(kAugmentDraws + channel * plane + i);
                end[i] = toned(from[i], how, most, most.noise != 0.0 ? draws(number) : 0);
            }
        }
    });
}

}  // namespace autometa
