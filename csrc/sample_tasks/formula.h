// How a task's classes and images are drawn, shared by the C++ core and the CUDA kernel.
#pragma once

#include "philox.h"

namespace autometa {

// `count` distinct integers below `size` in random order: Floyd's algorithm in the permutation form of
// Bentley and Floyd (1987), with draws first .. first + count - 1.
AUTOMETA_FORMULA void permutation(Draws& draws, uint64_t first, int64_t count, int64_t size, int64_t* found) {
    for (int64_t have = 0; have < count; ++have) {
        const int64_t limit = size - count + have;
        const int64_t drawn = draws.below(first + static_cast<uint64_t>(have), limit + 1);
        int64_t place = 0;
        while (place < have && found[place] != drawn) ++place;
        const bool known = place < have;
        place = known ? place + 1 : 0;
        for (int64_t i = have; i > place; --i) found[i] = found[i - 1];
        found[place] = known ? limit : drawn;
    }
}

// Where a task's classes stand in the list of those to draw from: in all of it, or in one of its groups, which lie one
// after another. groups: G; starts: of each in the list, and its end, `[G + 1]`. Virtual class v of `count` classes is
// the one at v % count, turned v / count times.
struct Group {
    int64_t first, count;

    AUTOMETA_BOTH int64_t place(int64_t own) const { return first + own % count; }
    AUTOMETA_BOTH int64_t turns(int64_t own) const { return own / count; }
};

// A task's group; `draw` numbers the draw after those of classes and images. One group costs no draw.
AUTOMETA_FORMULA Group group_of(Draws& draws, uint64_t draw, const int64_t* starts, int64_t groups) {
    const int64_t chosen = groups == 1 ? 0 : draws.below(draw, groups);
    return {starts[chosen], starts[chosen + 1] - starts[chosen]};
}

}  // namespace autometa
