// The CUDA kernel of the Reptile update; see device_block.h for how it is written.
#pragma once

#include "arena_columns.h"
#include "formula.h"

namespace autometa {
namespace cuda {

// A block has kThreads vectors of one group's row. It lists the group's finite slots kThreads at a time, in order, and
// adds their rows in that order and in double, so that sums depend on nothing but the numbers.
template <class T>
struct ReptileBody {
    struct Shared {
        bool counts[kThreads];
        int64_t member[kThreads];
        int members;
    };
    using V = Vector<T>;
    static constexpr int64_t kColumns = int64_t{kThreads} * V::kLanes;
    T* theta;
    const T* phi;
    const double* step_size;
    const bool* finite;
    Arena arena;
    bool aligned;

    AUTOMETA_BOTH int64_t per_row() const { return (arena.row + kColumns - 1) / kColumns; }
    int64_t blocks() const { return arena.groups * per_row(); }

    template <class Block>
    AUTOMETA_BOTH void operator()(Block& block, Shared& shared) const {
        typename Block::template Local<Sum> sum;
        const int64_t group = static_cast<uint32_t>(block.index) / static_cast<uint32_t>(per_row());
        const int64_t tile = block.index - group * per_row();
        int64_t count = 0, slot = 0;
        for (int64_t from = 0; from < arena.slots; from += kThreads) {
            list(block, shared, group, from);
            block.each([&](int thread) { add(sum(thread), shared, tile * kColumns + thread * V::kLanes); });
            if (shared.members > 0) slot = shared.member[0];
            count += shared.members;
        }
        if (count == 0) return;
        const int64_t layout = arena.layout_of_slot[slot];
        block.finally([&](int thread) {
            finish(sum(thread), group, layout, static_cast<double>(count), tile * kColumns + thread * V::kLanes);
        });
    }

    struct Sum {
        double lane[V::kLanes];
    };

    // Those of slots from .. from + kThreads - 1 that count, in order.
    template <class Block>
    AUTOMETA_BOTH void list(Block& block, Shared& shared, int64_t group, int64_t from) const {
        block.each([&](int thread) {
            const int64_t slot = from + thread;
            shared.counts[thread] = slot < arena.slots && group_of(arena, slot) == group && finite[slot];
        });
        block.each([&](int thread) {
            if (from + thread > arena.slots) return;  // the first thread without a slot counts them all
            int before = 0;
            for (int i = 0; i < thread; ++i) before += shared.counts[i];
            if (shared.counts[thread]) shared.member[before] = from + thread;
            if (from + thread == arena.slots || thread == kThreads - 1) shared.members = before + shared.counts[thread];
        });
    }

    // Four rows are read before the first is added.
    AUTOMETA_BOTH void add(Sum& sum, const Shared& shared, int64_t column) const {
        constexpr int n = 4;
        for (int first = 0; first < shared.members; first += n) {
            V x[n];
            AUTOMETA_UNROLL
            for (int m = 0; m < n; ++m)
                if (first + m < shared.members)
                    x[m] = load(phi + shared.member[first + m] * arena.row, column, arena.row, aligned);
            AUTOMETA_UNROLL
            for (int m = 0; m < n; ++m)
                if (first + m < shared.members)
                    AUTOMETA_UNROLL
                    for (int i = 0; i < V::kLanes; ++i) sum.lane[i] += static_cast<double>(x[m].lane[i]);
        }
    }

    AUTOMETA_BOTH void finish(const Sum& sum, int64_t group, int64_t layout, double count, int64_t column) const {
        T* begin = theta + group * arena.row;
        V t = load(begin, column, arena.row, aligned);
        unsigned live = 0;
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const double size = step_size[group * arena.kinds + kind];
            if (size == 0.0) continue;
            const unsigned here = columns_of(arena, layout, kind).template lanes<T>(column);
            AUTOMETA_UNROLL
            for (int i = 0; i < V::kLanes; ++i)
                if (here >> i & 1u) t.lane[i] = reptile_element(t.lane[i], sum.lane[i], count, size);
            live |= here;
        }
        store(begin, column, t, live, aligned);
    }
};

}  // namespace cuda
}  // namespace autometa
