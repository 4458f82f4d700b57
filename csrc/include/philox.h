// Philox-4x32-10 (Salmon et al., SC 2011), the same numbers as autometa/ops/philox.py.
#pragma once

#include <cstdint>

namespace autometa {

enum Stream : uint32_t { kTask = 0, kBatch = 1, kDropPath = 2, kInit = 3 };

struct PhiloxWords {
    uint32_t word[4];
};

inline PhiloxWords philox(PhiloxWords counter, uint32_t key0, uint32_t key1) {
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

// Random numbers of one (seed, stream, item), addressed by draw; neighbouring draws share a block.
class Draws {
public:
    Draws(uint32_t seed, Stream stream, uint64_t item) : seed_(seed), stream_(stream), item_(item) {}

    uint32_t operator()(uint64_t draw) {
        if (!filled_ || draw / 4 != block_) {
            block_ = draw / 4;
            filled_ = true;
            words_ = philox({{static_cast<uint32_t>(item_), static_cast<uint32_t>(item_ >> 32),
                              static_cast<uint32_t>(block_), 0}},
                            seed_, stream_);
        }
        return words_.word[draw % 4];
    }

    // An integer in 0 .. limit - 1.
    int64_t below(uint64_t draw, int64_t limit) {
        return static_cast<int64_t>(uint64_t{(*this)(draw)} * static_cast<uint64_t>(limit) >> 32);
    }

private:
    uint32_t seed_, stream_;
    uint64_t item_, block_ = 0;
    bool filled_ = false;
    PhiloxWords words_{};
};

}  // namespace autometa
