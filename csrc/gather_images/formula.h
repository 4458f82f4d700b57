// The arithmetic of images, shared by the C++ core and the CUDA kernel.
#pragma once

#include "host_device.h"

namespace autometa {

AUTOMETA_FORMULA float scaled(uint8_t byte, float scale, float shift) {
    return static_cast<float>(byte) * scale + shift;
}

// Rotation as one of 0 .. 3 quarter turns.
AUTOMETA_FORMULA int quarters_of(int64_t rotation) { return static_cast<int>((rotation % 4 + 4) % 4); }

// The pixel of a plane [height, width] that lands on (y, x) when the plane is turned counter-clockwise by so many
// quarters; height and width are equal where the number is odd.
template <class Integer>
AUTOMETA_FORMULA Integer turned(Integer y, Integer x, Integer height, Integer width, int quarters) {
    switch (quarters) {
        case 1:
            return x * width + width - 1 - y;
        case 2:
            return (height - 1 - y) * width + width - 1 - x;
        case 3:
            return (width - 1 - x) * width + y;
        default:
            return y * width + x;
    }
}

}  // namespace autometa
