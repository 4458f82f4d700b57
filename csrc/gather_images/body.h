// The CUDA kernel that makes image batches; see device_block.h for how it is written.
#pragma once

#include "arena_columns.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// A thread writes four neighbouring elements of one image.
struct GatherBody {
    using Shared = Nothing;
    static constexpr int kLanes = Vector<float>::kLanes;
    struct alignas(kLanes) Bytes {
        uint8_t lane[kLanes];
    };
    const uint8_t* images;
    ImageShape shape;
    const int64_t *index, *rotation;
    int64_t picks;
    const float *scale, *shift;
    float* out;
    bool aligned;  // images and their copies begin at multiples of a vector

    AUTOMETA_BOTH int64_t size() const { return shape.channels * shape.height * shape.width; }
    AUTOMETA_BOTH int64_t per_image() const { return (size() + kThreads * kLanes - 1) / (kThreads * kLanes); }
    int64_t blocks() const { return picks * per_image(); }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Nothing&) const {
        block.finally([&](int thread) {
            const uint32_t parts = static_cast<uint32_t>(per_image());
            const int64_t pick = static_cast<uint32_t>(block.index) / parts;
            const int64_t first = ((block.index - pick * parts) * kThreads + thread) * kLanes;
            if (first >= size()) return;
            const uint8_t* from = images + clamped(index[pick], shape.count) * size();
            const int quarters = quarters_of(rotation[pick]);
            Bytes bytes;
            if (aligned && quarters == 0)
                bytes = *reinterpret_cast<const Bytes*>(from + first);
            else
                bytes = turned_bytes(from, static_cast<uint32_t>(first), quarters);
            const Columns inside{0, size()};
            store(out + pick * size(), first, floats(bytes, static_cast<uint32_t>(first)), inside.lanes<float>(first),
                  aligned);
        });
    }

    // Bytes that land on elements first .. first + kLanes - 1 of the turned image; 0 past its end.
    AUTOMETA_BOTH Bytes turned_bytes(const uint8_t* from, uint32_t first, int quarters) const {
        const uint32_t height = static_cast<uint32_t>(shape.height), width = static_cast<uint32_t>(shape.width);
        const uint32_t plane = height * width, end = static_cast<uint32_t>(size());
        uint32_t start = first / plane * plane, y = (first - start) / width, x = first - start - y * width;
        Bytes found{};
        AUTOMETA_UNROLL
        for (int i = 0; i < kLanes; ++i) {
            if (first + i < end) {
                const uint32_t pixel = turned(y, x, height, width, quarters);
                found.lane[i] = from[start + (pixel < plane ? pixel : plane - 1)];
            }
            if (++x == width) {
                x = 0;
                ++y;
            }
            if (y == height) {
                y = 0;
                start += plane;
            }
        }
        return found;
    }

    AUTOMETA_BOTH Vector<float> floats(const Bytes& bytes, uint32_t first) const {
        const uint32_t plane = static_cast<uint32_t>(shape.height * shape.width), end = static_cast<uint32_t>(size());
        Vector<float> made{};
        AUTOMETA_UNROLL
        for (int i = 0; i < kLanes; ++i) {
            const uint32_t element = first + i < end ? first + i : end - 1, channel = element / plane;
            made.lane[i] = scaled(bytes.lane[i], scale[channel], shift[channel]);
        }
        return made;
    }
};

}  // namespace cuda
}  // namespace autometa
