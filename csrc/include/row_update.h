// The CUDA kernel of an optimiser step: every element of a row changes by a rule that its slot and kind set.
#pragma once

#include "arena_columns.h"

namespace autometa {
namespace cuda {

// A Rule has a type Step; `bool begin(arena, slot, kind, sharers, step)`, false for a kind that stays as it is; and
// `apply(x, g, step)`, which changes the kRows elements x of one column. One thread calls begin() in each of the
// `sharers` blocks that have columns of this slot and kind, and in one block where no column is of the kind.
template <class T, int kRows, class Rule>
struct RowUpdate {
    static constexpr int kKinds = 8;  // so many kinds at a time
    struct Kind {
        Columns columns;
        bool moves;
        typename Rule::Step step;
    };
    struct Shared {
        Kind kind[kKinds];
    };
    using V = Vector<T>;
    using Tile = Tiles<T, kRows < 3 ? 2 : 1>;
    struct Own {  // what a thread has of the rows
        V x[Tile::kVectors][kRows], g[Tile::kVectors];
        unsigned live[Tile::kVectors];
    };
    T* rows[kRows];  // [slots, row] each
    const T* grad;
    Rule rule;
    Arena arena;
    bool aligned;

    int64_t blocks() const { return arena.slots * Tile(arena.row).per_row; }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared& shared) const {
        const Tile tiles(arena.row);
        const int64_t slot = tiles.row_of(block.index), tile = tiles.tile_of(block.index);
        typename Block::template Local<Own> own;
        for (int64_t from = 0; from < arena.kinds; from += kKinds) {
            const int count = static_cast<int>(arena.kinds - from < kKinds ? arena.kinds - from : kKinds);
            if (from > 0) block.each([](int) {});  // all have done with the kinds before
            // The other warps read their columns while the first waits for the kinds' constants.
            block.each([&](int thread) {
                if (thread < count) begin(shared.kind[thread], slot, tile, from + thread);
                if (from == 0) read(own(thread), slot, tile, thread);
            });
            block.finally([&](int thread) {
                for (int k = 0; k < count; ++k)
                    if (shared.kind[k].moves) change(own(thread), shared.kind[k], tile, thread);
            });
        }
        block.finally([&](int thread) { write(own(thread), slot, tile, thread); });
    }

    AUTOMETA_BOTH void begin(Kind& found, int64_t slot, int64_t tile, int64_t kind) const {
        found.columns = columns_of(arena, arena.layout_of_slot[slot], kind);
        const Span of = found.columns.template tiles<Tile>();
        found.moves = tile >= of.first && tile <= of.last &&
                      rule.begin(arena, slot, kind, of.last - of.first + 1, found.step);
    }

    // Everything is read before anything is written, so that many reads are on their way at once.
    AUTOMETA_BOTH void read(Own& own, int64_t slot, int64_t tile, int thread) const {
        AUTOMETA_UNROLL
        for (int k = 0; k < Tile::kVectors; ++k) {
            const int64_t column = Tile::column(tile, k, thread);
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r)
                own.x[k][r] = load(rows[r] + slot * arena.row, column, arena.row, aligned);
            own.g[k] = load(grad + slot * arena.row, column, arena.row, aligned);
        }
    }

    AUTOMETA_BOTH void change(Own& own, const Kind& kind, int64_t tile, int thread) const {
        const typename Rule::Step step = kind.step;
        AUTOMETA_UNROLL
        for (int k = 0; k < Tile::kVectors; ++k) {
            const unsigned here = kind.columns.template lanes<T>(Tile::column(tile, k, thread));
            change(own.x[k], own.g[k], here, step);
            own.live[k] |= here;
        }
    }

    AUTOMETA_BOTH void write(const Own& own, int64_t slot, int64_t tile, int thread) const {
        AUTOMETA_UNROLL
        for (int k = 0; k < Tile::kVectors; ++k)
            AUTOMETA_UNROLL
            for (int r = 0; r < kRows; ++r)
                store(rows[r] + slot * arena.row, Tile::column(tile, k, thread), own.x[k][r], own.live[k], aligned);
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
