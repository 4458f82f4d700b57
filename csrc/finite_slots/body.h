// The CUDA kernel that looks for NaN and infinity, two bodies in turn; see device_block.h for how they are written.
#pragma once

#include "arena_columns.h"

namespace autometa {
namespace cuda {

struct TrueBody {
    using Shared = Nothing;
    bool* finite;
    int64_t slots;

    AUTOMETA_BOTH int64_t blocks() const { return (slots + kThreads - 1) / kThreads; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            const int64_t slot = block.index * kThreads + thread;
            if (slot < slots) finite[slot] = true;
        });
    }
};

// `finite` starts as true; whoever finds a number that is not finite writes false.
template <class T>
struct FiniteBody {
    using Shared = Nothing;
    using V = Vector<T>;
    using Tile = Tiles<T, 4>;
    const T* phi;
    bool* finite;
    int64_t slots, row;
    bool aligned;

    AUTOMETA_BOTH int64_t blocks() const { return slots * Tile(row).per_row; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            constexpr int n = Tile::kVectors;
            const Tile tiles(row);
            const int64_t slot = tiles.row_of(block.index), tile = tiles.tile_of(block.index);
            V x[n];
            AUTOMETA_UNROLL
            for (int k = 0; k < n; ++k) x[k] = load(phi + slot * row, tiles.column(tile, k, thread), row, aligned);
            bool good = true;
            AUTOMETA_UNROLL
            for (int k = 0; k < n; ++k)
                AUTOMETA_UNROLL
                for (int i = 0; i < V::kLanes; ++i) good = good && is_finite(x[k].lane[i]);
            if (!good) finite[slot] = false;
        });
    }
};

}  // namespace cuda
}  // namespace autometa
