// How a convolutional op is shared out: slots in waves, the images of a slot in chunks, phase by phase.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "memory.h"
#include "parallel.h"

namespace autometa {

// Chunks of a slot's images: a matter of the slot's size alone, so that sums over chunks do not depend on threads.
int64_t chunks_of(int64_t batch, int64_t pixels);

// As many again for small maps of many channels, from a slot's multiplications.
int64_t chunks_by_work(int64_t batch, int64_t macs);

struct Range {
    int64_t first, last;
};

inline Range chunk(int64_t batch, int64_t chunks, int64_t i) {
    return {batch * i / chunks, batch * (i + 1) / chunks};
}

// Slots that are worked on together, and the threads that share them.
struct Team {
    int64_t wave;
    int threads;
};

// Enough slots for all threads, few enough to stay near the processor; fewer threads where `macs`, the op's
// multiplications, are too few to pay for waking them.
Team team_of(int64_t slots, int threads, int64_t chunks, int64_t floats_per_slot, int64_t macs);

// Do run(worker, first slot, slots) for all slots. Where there are plenty, every thread takes whole slots, with a worker
// of its own, and nobody waits for anybody; what does not divide among them shares one worker's phases. make(team) gives
// a worker's address.
template <class Make, class Run>
void for_all_slots(int64_t slots, const Team& team, const Make& make, const Run& run) {
    const int64_t whole = team.threads > 1 && slots >= 2 * team.threads ? slots / team.threads * team.threads : 0;
    if (whole > 0) {
        std::vector<decltype(make(team))> idle;
        for (int i = 0; i < team.threads; ++i) idle.push_back(make(Team{1, 1}));
        std::mutex mutex;
        parallel_for(whole, team.threads, [&](int64_t slot) {
            std::unique_lock<std::mutex> lock(mutex);
            auto worker = std::move(idle.back());
            idle.pop_back();
            lock.unlock();
            run(*worker, slot, 1);
            lock.lock();
            idle.push_back(std::move(worker));
        });
    }
    if (whole == slots) return;
    const auto worker = make(team);
    for (int64_t first = whole; first < slots; first += team.wave)
        run(*worker, first, slots - first < team.wave ? slots - first : team.wave);
}

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
