// The CUDA kernel of clipping by norm, two bodies in turn; see device_block.h for how they are written.
#pragma once

#include "arena_columns.h"

namespace autometa {
namespace cuda {

// The same for both bodies: the second adds up what the first left for each tile.
template <class T>
using ClipTiles = Tiles<T, 4>;

struct Doubles {
    double value[kThreads];
};

// partial[slot, kind, tile] = the sum of squares of a kind's columns in a tile, added in an order that depends on the
// columns alone.
template <class T>
struct SquaresBody {
    using Shared = Doubles;
    using V = Vector<T>;
    using Tile = ClipTiles<T>;
    const T* grad;
    double* partial;
    Arena arena;
    bool aligned;

    AUTOMETA_BOTH int64_t blocks() const { return arena.slots * Tile(arena.row).per_row; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared& shared) const {
        const Tile tiles(arena.row);
        const int64_t slot = tiles.row_of(block.index), tile = tiles.tile_of(block.index);
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const Columns columns = columns_of(arena, arena.layout_of_slot[slot], kind);
            double* total = partial + (slot * arena.kinds + kind) * tiles.per_row + tile;
            if (!columns.meets(tile * tiles.kColumns, (tile + 1) * tiles.kColumns)) {
                block.each([&](int thread) {
                    if (thread == 0) *total = 0.0;
                });
                continue;
            }
            block.each([&](int thread) { shared.value[thread] = squares(columns, slot, tile, thread); });
            add_up(block, shared.value);
            block.each([&](int thread) {
                if (thread == 0) *total = shared.value[0];
            });
        }
    }

    AUTOMETA_BOTH double squares(const Columns& columns, int64_t slot, int64_t tile, int thread) const {
        constexpr int n = Tile::kVectors;
        V g[n];
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k)
            g[k] = load(grad + slot * arena.row, Tile::column(tile, k, thread), arena.row, aligned);
        double sum = 0.0;
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k) {
            const unsigned here = columns.lanes<T>(Tile::column(tile, k, thread));
            AUTOMETA_UNROLL
            for (int i = 0; i < V::kLanes; ++i) {
                const double value = static_cast<double>(g[k].lane[i]);
                if (here >> i & 1u) sum += value * value;
            }
        }
        return sum;
    }
};

// Adds up a slot's partial sums (every block for itself, in one order), and scales its tile where the norm is too large.
template <class T>
struct ClipBody {
    using Shared = Doubles;
    using V = Vector<T>;
    using Tile = ClipTiles<T>;
    T *grad, *norms;
    const double *max_norm, *partial;
    Arena arena;
    bool aligned;

    AUTOMETA_BOTH int64_t blocks() const { return arena.slots * Tile(arena.row).per_row; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared& shared) const {
        const Tile tiles(arena.row);
        const int64_t slot = tiles.row_of(block.index), tile = tiles.tile_of(block.index);
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const Columns columns = columns_of(arena, arena.layout_of_slot[slot], kind);
            const bool here = columns.meets(tile * tiles.kColumns, (tile + 1) * tiles.kColumns);
            if (!here && tile != 0) continue;
            const double* parts = partial + (slot * arena.kinds + kind) * tiles.per_row;
            block.each([&](int thread) {
                double sum = 0.0;
                for (int64_t i = thread; i < tiles.per_row; i += kThreads) sum += parts[i];
                shared.value[thread] = sum;
            });
            add_up(block, shared.value);
            const double limit = max_norm[group_of(arena, slot) * arena.kinds + kind];
            block.each([&](int thread) {
                const double norm = square_root(shared.value[0]);
                if (tile == 0 && thread == 0) norms[slot * arena.kinds + kind] = static_cast<T>(norm);
                if (here && norm > limit && is_finite(norm))
                    scale(columns, static_cast<T>(limit / norm), slot, tile, thread);
            });
        }
    }

    AUTOMETA_BOTH void scale(const Columns& columns, T factor, int64_t slot, int64_t tile, int thread) const {
        constexpr int n = Tile::kVectors;
        T* begin = grad + slot * arena.row;
        V g[n];
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k) g[k] = load(begin, Tile::column(tile, k, thread), arena.row, aligned);
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k) {
            AUTOMETA_UNROLL
            for (int i = 0; i < V::kLanes; ++i) g[k].lane[i] *= factor;
            const int64_t column = Tile::column(tile, k, thread);
            store(begin, column, g[k], columns.lanes<T>(column), aligned);
        }
    }
};

}  // namespace cuda
}  // namespace autometa
