// Activations of the compiled kernels: [slots, batch, height, width, padded channels], see autometa/ops/_memory.py.
#pragma once

#include <cstdint>

namespace autometa {

// Floats per pixel: 8, or the next multiple of 16. What stands in the padding means nothing.
inline int64_t padded_channels(int64_t channels) { return channels <= 8 ? 8 : (channels + 15) / 16 * 16; }

struct Activation {
    float* data;
    int64_t channels, height, width;

    int64_t pixels() const { return height * width; }
    // Image number slot * batch + n.
    float* image(int64_t number) const { return data + number * pixels() * padded_channels(channels); }
};

}  // namespace autometa
