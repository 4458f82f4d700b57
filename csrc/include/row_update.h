// The CUDA kernel of an optimiser step: every element of a row changes by a rule that its slot and kind set.
#pragma once

#include "arena_columns.h"

namespace autometa {
namespace cuda {

// A Rule has a type Step; `bool begin(arena, slot, kind, step)`, false for a kind that stays as it is; and
// `apply(x, g, step)`, which changes the kRows elements x of one column.
template <class T, int kRows, class Rule>
struct RowUpdate {
    using Shared = Nothing;
    using V = Vector<T>;
    using Tile = Tiles<T, 2>;
    T* rows[kRows];  // [slots, row] each
    const T* grad;
    Rule rule;
    Arena arena;
    bool aligned;

    int64_t blocks() const { return arena.slots * Tile(arena.row).per_row; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared&) const {
        block.finally([&](int thread) {
            const Tile tiles(arena.row);
            update(tiles.row_of(block.index), tiles.tile_of(block.index), thread);
        });
    }

    // Everything is read before anything is written, so that many reads are on their way at once.
    AUTOMETA_BOTH void update(int64_t slot, int64_t tile, int thread) const {
        constexpr int n = Tile::kVectors;
        const int64_t begin = slot * arena.row;
        V x[n][kRows], g[n];
        unsigned live[n] = {};
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k) {
            const int64_t column = Tile::column(tile, k, thread);
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r) x[k][r] = load(rows[r] + begin, column, arena.row, aligned);
            g[k] = load(grad + begin, column, arena.row, aligned);
        }
        const int64_t layout = arena.layout_of_slot[slot];
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const Columns columns = columns_of(arena, layout, kind);
            typename Rule::Step step;
            if (!columns.meets(tile * Tile::kColumns, (tile + 1) * Tile::kColumns)) continue;
            if (!rule.begin(arena, slot, kind, step)) continue;
            AUTOMETA_UNROLL
            for (int k = 0; k < n; ++k) {
                const unsigned here = columns.lanes<T>(Tile::column(tile, k, thread));
                change(x[k], g[k], here, step);
                live[k] |= here;
            }
        }
        AUTOMETA_UNROLL
        for (int k = 0; k < n; ++k)
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r)
                store(rows[r] + begin, Tile::column(tile, k, thread), x[k][r], live[k], aligned);
    }

    AUTOMETA_BOTH void change(V (&x)[kRows], const V& g, unsigned lanes, const typename Rule::Step& step) const {
        AUTOMETA_UNROLL
        for (int i = 0; i < V::kLanes; ++i) {
            if (!(lanes >> i & 1u)) continue;
            T of_column[kRows];
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r) of_column[r] = x[r].lane[i];
            Rule::apply(of_column, g.lane[i], step);
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r) x[r].lane[i] = of_column[r];
        }
    }
};

}  // namespace cuda
}  // namespace autometa
