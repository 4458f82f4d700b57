// The shuffled passes over a task's items, shared by the C++ core and the CUDA kernel.
#pragma once

#include "philox.h"

namespace autometa {

// With which place step `place` of a pass's shuffle (Fisher and Yates, from the last place down) swaps.
AUTOMETA_FORMULA int64_t partner(Draws& draws, int64_t pass, int64_t items, int64_t place) {
    return draws.below(static_cast<uint64_t>(pass * items + place), place + 1);
}

// The item at `place` after the shuffle, without an array: what arrived there is followed back through the swaps. After
// step j place j stays as it is, so the item came from its partner, and from there through the steps before, j + 1 up.
AUTOMETA_FORMULA int64_t shuffled_item(Draws& draws, int64_t pass, int64_t items, int64_t place) {
    int64_t from = place > 0 ? partner(draws, pass, items, place) : 0;
    for (int64_t j = place + 1; j < items; ++j)
        if (partner(draws, pass, items, j) == from) from = j;
    return from;
}

}  // namespace autometa
