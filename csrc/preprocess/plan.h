// What the slots of a preprocessing read, and where their results stand in the kept and in the work memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../conv/batch_norm.h"
#include "../conv/conv.h"
#include "../conv/wave.h"
#include "activation.h"
#include "autometa.h"

namespace autometa {

// Shapes and places that all slots share.
struct PreprocessSizes {
    Plane in, out;
    Taps taps;
    int64_t chunks = 1;
    int64_t border_h = 0, border_w = 0;              // of the output's gradient
    int64_t mean = 0, kept = 0;                      // in the kept memory
    int64_t moments = 0, a = 0, b = 0, shared = 0;   // in the work memory, before what differs

    explicit PreprocessSizes(const Preprocess& p) {
        const int64_t stride = p.reduce ? 2 : 1;
        in = {nullptr, p.height, p.width, 0, 0, padded_channels(p.depth)};
        out = {nullptr, (p.height + stride - 1) / stride, (p.width + stride - 1) / stride, 0, 0,
               padded_channels(p.channels)};
        taps.at = {{0, 0}};
        taps.stride = stride;
        if (p.reduce) taps.at.push_back({1 - p.height % 2, 1 - p.width % 2});
        chunks = chunks_of(p.batch, out.pixels());
        border_h = taps.back_h(in.height, out.height);
        border_w = taps.back_w(in.width, out.width);
        Layout kept_memory, memory;
        mean = kept_memory.take(2 * out.lanes);
        kept = kept_memory.floats();
        moments = memory.take(p.batch * kMoments * out.lanes);
        a = memory.take(out.lanes), b = memory.take(out.lanes);
        shared = memory.floats();
    }

    int64_t border_floats() const { return (out.height + 2 * border_h) * (out.width + 2 * border_w) * out.lanes; }
};

// Slots that follow one row of the table: the states they read, in order, as the convolution's input planes.
struct PreprocessPlan {
    std::vector<int64_t> reads;
    Conv conv;
    int64_t gamma = -1, beta = -1;                           // columns of the slot's parameters
    int64_t packed = 0, work = 0;                            // in the work memory
    int64_t transposed = 0, gradient = 0, back_work = 0;     // gradient: [chunks] of conv.packed()

    // row: [states] offset of a state's input channels among those of the slot, -1 where it is not read; null: all.
    PreprocessPlan(const Preprocess& p, const PreprocessSizes& sizes, const int64_t* row) {
        for (int64_t j = 0; j < p.states; ++j)
            if (row == nullptr || row[j] >= 0) reads.push_back(j);
        int64_t column = weights(p, row);
        if (p.affine && !reads.empty()) {
            gamma = column;
            beta = column + aligned(p.channels);
            column = beta + aligned(p.channels);
        }
        if (column > p.params_width) throw std::invalid_argument("preprocess: too few parameters");
        conv.taps = sizes.taps;
        Layout memory;
        memory.take(sizes.shared);
        packed = memory.take(conv.packed(sizes.out.lanes));
        work = memory.floats();
        transposed = memory.take(conv.transposed(sizes.in.lanes));
        gradient = memory.take(sizes.chunks * conv.packed(sizes.out.lanes));
        back_work = memory.floats();
    }

private:
    // Sets the convolution but for its taps; returns the column after its weights.
    int64_t weights(const Preprocess& p, const int64_t* row) {
        const int64_t planes = static_cast<int64_t>(reads.size()), all = planes * p.depth, half = p.channels / 2;
        const int64_t second = aligned(half * all);
        conv.depth = p.depth;
        conv.outs = p.channels;
        conv.planes = planes;
        std::vector<bool> taken(static_cast<size_t>(planes), false);
        for (int64_t k = 0; k < planes; ++k) {
            const int64_t at = row ? row[reads[static_cast<size_t>(k)]] : k * p.depth;
            const auto place = static_cast<size_t>(at / p.depth);
            if (at % p.depth != 0 || at >= all || taken[place])
                throw std::invalid_argument("preprocess: table puts a state at channel " + std::to_string(at) +
                                            " of " + std::to_string(all));
            taken[place] = true;
            if (p.reduce) {
                conv.parts.push_back({0, half, all, at, 1, 0, 2 * k});
                conv.parts.push_back({second, p.channels - half, all, at, 1, half, 2 * k + 1});
            } else {
                conv.parts.push_back({0, p.channels, all, at, 1, 0, k});
            }
        }
        return p.reduce ? second + aligned((p.channels - half) * all) : aligned(p.channels * all);
    }
};

struct PreprocessPlans {
    PreprocessSizes sizes;
    std::vector<PreprocessPlan> different;
    const int64_t* number_of_slot;  // null: all slots follow the first

    explicit PreprocessPlans(const Preprocess& p) : sizes(p), number_of_slot(p.table_of_slot) {
        for (int64_t t = 0; t < std::max<int64_t>(p.tables, 1); ++t)
            different.emplace_back(p, sizes, p.table ? p.table + t * p.states : nullptr);
        for (int64_t s = 0; s < p.slots && number_of_slot; ++s)
            if (number_of_slot[s] < 0 || number_of_slot[s] >= p.tables)
                throw std::invalid_argument("preprocess: table_of_slot names a table that does not exist");
    }

    const PreprocessPlan& of_slot(int64_t slot) const {
        return different[static_cast<size_t>(number_of_slot ? number_of_slot[slot] : 0)];
    }
    int64_t most(int64_t PreprocessPlan::* size) const {
        int64_t found = 0;
        for (const PreprocessPlan& plan : different) found = std::max(found, plan.*size);
        return found;
    }
    int64_t most_planes() const {
        int64_t found = 0;
        for (const PreprocessPlan& plan : different) found = std::max(found, plan.conv.planes);
        return found;
    }
    // Multiplications of a forward.
    int64_t macs(const Preprocess& p) const {
        int64_t all = 0;
        for (int64_t s = 0; s < p.slots; ++s) all += of_slot(s).conv.packed(sizes.out.lanes);
        return all * p.batch * sizes.out.pixels();
    }
};

}  // namespace autometa
