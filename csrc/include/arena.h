// The tables that say which columns of an arena [slots, row] belong to whom; see the package's ops.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace autometa {

struct Arena {
    const int64_t* bounds;          // [layouts, kinds + 1]
    const int64_t* group_of_slot;   // [slots]
    const int64_t* layout_of_slot;  // [slots]
    int64_t slots, row, groups, layouts, kinds;

    // Throws std::invalid_argument where a table's value is out of range.
    void check() const;
    AUTOMETA_BOTH int64_t edge(int64_t slot, int64_t kind) const {
        return bounds[layout_of_slot[slot] * (kinds + 1) + kind];
    }
};

struct AdamConstants {
    double beta1, beta2, eps;
};

struct TaskShape {
    int64_t rotations, ways, shots, queries;
};

struct BatchShape {
    int64_t items, batch, steps, first_step;
};

struct ImageShape {
    int64_t count, channels, height, width;
};

struct AugmentShape {
    int64_t tasks, picks, channels, height, width;
};

// The most by which images are changed, 0 where they are not.
struct AugmentRanges {
    double shift, scale, half_turn, shear, thickness, blur, contrast, brightness, noise, invert;
};

struct MaskShape {
    int64_t images, instances;  // of one task
    int64_t first_image;        // of the task's stream of draws
    double limit, kept;         // numbers below limit (of 2^32) are kept, with this value
};

}  // namespace autometa
