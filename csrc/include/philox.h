// Philox-4x32-10 (Salmon et al., SC 2011), the same numbers as autometa/ops/philox.py, on host and device.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace autometa {

enum Stream : uint32_t { kTask = 0, kBatch = 1, kDropPath = 2, kInit = 3, kAugment = 5 };

struct PhiloxWords {
    uint32_t word[4];

    // Chosen by comparisons: an index known only at run time would put the words into memory.
    AUTOMETA_BOTH uint32_t at(int i) const {
        return i < 2 ? (i == 0 ? word[0] : word[1]) : (i == 2 ? word[2] : word[3]);
    }
};

AUTOMETA_FORMULA PhiloxWords philox(PhiloxWords counter, uint32_t key0, uint32_t key1) {
    AUTOMETA_UNROLL
    for (int round = 0; round < 10; ++round) {
        const uint64_t low = uint64_t{0xD2511F53} * counter.word[0];
        const uint64_t high = uint64_t{0xCD9E8D57} * counter.word[2];
        counter = {{static_cast<uint32_t>(high >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(high),
                    static_cast<uint32_t>(low >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(low)}};
        key0 += 0x9E3779B9;
        key1 += 0xBB67AE85;
    }
    return counter;
}

// Map a random number to an integer in 0 .. limit - 1.
AUTOMETA_FORMULA int64_t bounded(uint32_t number, int64_t limit) {
    return static_cast<int64_t>(uint64_t{number} * static_cast<uint64_t>(limit) >> 32);
}

// Random numbers of one (seed, stream, item), addressed by draw; neighbouring draws share a block.
class Draws {
public:
    AUTOMETA_BOTH Draws(uint32_t seed, Stream stream, uint64_t item) : seed_(seed), stream_(stream), item_(item) {}

    // Draws 4 block .. 4 block + 3.
    AUTOMETA_BOTH PhiloxWords block(uint64_t block) const {
        return philox({{static_cast<uint32_t>(item_), static_cast<uint32_t>(item_ >> 32),
                        static_cast<uint32_t>(block), 0}},
                      seed_, stream_);
    }

    AUTOMETA_BOTH uint32_t operator()(uint64_t draw) {
        if (!filled_ || draw / 4 != block_) {
            block_ = draw / 4;
            filled_ = true;
            words_ = block(block_);
        }
        return words_.at(static_cast<int>(draw % 4));
    }

    // An integer in 0 .. limit - 1.
    AUTOMETA_BOTH int64_t below(uint64_t draw, int64_t limit) { return bounded((*this)(draw), limit); }

private:
    uint32_t seed_, stream_;
    uint64_t item_, block_ = 0;
    bool filled_ = false;
    PhiloxWords words_{};
};

}  // namespace autometa
