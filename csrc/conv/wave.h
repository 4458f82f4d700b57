// How a convolutional op is shared out: slots in waves, the images of a slot in chunks, phase by phase.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "memory.h"

namespace autometa {

// Chunks of a slot's images: a matter of the slot's size alone, so that sums over chunks do not depend on threads.
int64_t chunks_of(int64_t batch, int64_t pixels);

struct Range {
    int64_t first, last;
};

inline Range chunk(int64_t batch, int64_t chunks, int64_t i) {
    return {batch * i / chunks, batch * (i + 1) / chunks};
}

// Slots that are worked on together: enough for all threads, few enough to stay near the processor.
int64_t wave_of(int64_t slots, int64_t threads, int64_t chunks, int64_t floats_per_slot);

// Scratch memory for as many bodies as run at once.
class Scratch {
public:
    Scratch(int64_t floats, int threads);

    // One body's share, for as long as it lives.
    class Share {
    public:
        explicit Share(Scratch& from);
        ~Share();
        Share(const Share&) = delete;
        Share& operator=(const Share&) = delete;
        float* floats() const { return memory_; }

    private:
        Scratch& from_;
        float* memory_;
    };

private:
    int64_t each_;
    Block block_;
    std::mutex mutex_;
    std::vector<float*> free_;
};

// Offsets into memory that is allocated later, each a multiple of 64 bytes.
class Layout {
public:
    int64_t take(int64_t floats) {
        const int64_t at = floats_;
        floats_ += (floats + 15) / 16 * 16;
        return at;
    }
    int64_t floats() const { return floats_; }

private:
    int64_t floats_ = 0;
};

}  // namespace autometa
