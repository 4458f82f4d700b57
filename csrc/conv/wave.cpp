#include "wave.h"

#include <algorithm>

namespace autometa {

int64_t chunks_of(int64_t batch, int64_t pixels) {
    return std::max<int64_t>(1, std::min({batch, int64_t{8}, batch * pixels / 256}));
}

int64_t chunks_by_work(int64_t batch, int64_t macs) {
    return std::max<int64_t>(1, std::min({batch, int64_t{8}, macs >> 23}));
}

Team team_of(int64_t slots, int threads, int64_t chunks, int64_t floats_per_slot, int64_t macs) {
    constexpr int64_t kWorth = int64_t{2} << 20;
    threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(threads, macs / kWorth)));
    constexpr int64_t kNear = int64_t{1} << 20;  // floats
    const int64_t busy = threads <= 1 ? 1 : (2 * threads + chunks - 1) / chunks;
    const int64_t small = kNear / std::max<int64_t>(floats_per_slot, 1);
    return {std::max<int64_t>(1, std::min(slots, threads == 1 ? 1 : std::max(busy, small))), threads};
}

Scratch::Scratch(int64_t floats, int threads)
    : each_((floats + 15) / 16 * 16), block_(each_ * threads * static_cast<int64_t>(sizeof(float))) {
    for (int i = threads; i-- > 0;) free_.push_back(block_.floats() + i * each_);
}

Scratch::Share::Share(Scratch& from) : from_(from) {
    std::lock_guard<std::mutex> lock(from_.mutex_);
    memory_ = from_.free_.back();
    from_.free_.pop_back();
}

Scratch::Share::~Share() {
    std::lock_guard<std::mutex> lock(from_.mutex_);
    from_.free_.push_back(memory_);
}

}  // namespace autometa
