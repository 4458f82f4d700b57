#include "memory.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "ranges.h"

namespace autometa {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmallest = 1024;
// Blocks from here on are ranges of mappings of our own: on the heap they would leave holes.
#if defined(__linux__)
constexpr size_t kMapped = size_t{1} << 16;
#else
constexpr size_t kMapped = size_t{1} << 62;
#endif
constexpr size_t kLargest = size_t{1} << 46;
// Blocks handed out before the peak of in-use memory is forgotten: some tens of training steps.
constexpr uint64_t kWindow = 4096;

// Small sizes are 8 to 15 eighths of a power of two, so rounding up adds less than an eighth.
size_t size_class(size_t bytes) {
    if (bytes >= kMapped) return (bytes + Ranges::kPage - 1) / Ranges::kPage * Ranges::kPage;
    size_t power = kSmallest;
    if (bytes <= power) return power;
    while (power * 2 <= bytes) power *= 2;
    const size_t step = power / 8;
    return (bytes + step - 1) / step * step;
}

void* from_system(size_t capacity) {
#if defined(_WIN32)
    return _aligned_malloc(capacity, kAlignment);
#else
    void* found = nullptr;
    return posix_memalign(&found, kAlignment, capacity) == 0 ? found : nullptr;
#endif
}

void to_system(void* address) {
#if defined(_WIN32)
    _aligned_free(address);
#else
    std::free(address);
#endif
}

// Under the address sanitizer, what is not in use must not be touched.
void forbid(void* address, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(address, bytes);
#else
    (void)address, (void)bytes;
#endif
}

void allow(void* address, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(address, bytes);
#else
    (void)address, (void)bytes;
#endif
}

class Pool {
public:
    void* take(size_t capacity) {
        std::lock_guard<std::mutex> lock(mutex_);
        if (++taken_ % kWindow == 0) forget_peak();
        void* found = capacity >= kMapped ? from_ranges(capacity) : from_cache(capacity);
        if (found == nullptr) throw std::bad_alloc();
        in_use_ += capacity;
        peak_ = std::max(peak_, in_use_);
        window_peak_ = std::max(window_peak_, in_use_);
        return found;
    }

    void give(void* address, size_t capacity) noexcept {
        std::lock_guard<std::mutex> lock(mutex_);
        in_use_ -= capacity;
        try {
            if (capacity >= kMapped) {
                ranges_.give(address, capacity);
            } else {
                cache_[capacity].push_back({address, taken_});
                cached_ += capacity;
            }
        } catch (const std::bad_alloc&) {
            if (capacity < kMapped) drop(address, capacity);
        }
    }

    MemoryReport report(bool reset_peak) {
        std::lock_guard<std::mutex> lock(mutex_);
        const MemoryReport found = {static_cast<int64_t>(in_use_), static_cast<int64_t>(kept()),
                                    static_cast<int64_t>(peak_)};
        if (reset_peak) peak_ = in_use_;
        return found;
    }

    void release() {
        std::lock_guard<std::mutex> lock(mutex_);
        shrink(0);
        ranges_.unmap();
        earlier_peak_ = window_peak_ = in_use_;
    }

    std::mutex& mutex() { return mutex_; }

private:
    struct Kept {
        void* address;
        uint64_t since;
    };

    size_t recent_peak() const { return std::max(earlier_peak_, window_peak_); }

    void forget_peak() {
        earlier_peak_ = window_peak_;
        window_peak_ = in_use_;
        const size_t peak = recent_peak();
        shrink(peak + peak / 4 - in_use_);
    }

    size_t kept() const { return cached_ + ranges_.resident(); }

    // Before a block of this size comes fresh from the system: all that is held stays within 1.25 times the peak.
    void make_room(size_t capacity) {
        const size_t peak = std::max(recent_peak(), in_use_ + capacity);
        shrink(peak + peak / 4 - in_use_ - capacity);
    }

    void* from_ranges(size_t capacity) {
        Ranges::Fit fit = ranges_.find(capacity);
        if (fit.at == nullptr) {
            if (!ranges_.grow(capacity)) {
                shrink(0);
                ranges_.unmap();
                if (!ranges_.grow(capacity)) return nullptr;
            }
            fit = ranges_.find(capacity);
        }
        ranges_.take(fit, capacity);
        if (fit.fresh > 0) make_room(capacity);
        allow(fit.at, capacity);
        return fit.at;
    }

    void* from_cache(size_t capacity) {
        const auto found = cache_.find(capacity);
        if (found == cache_.end()) {
            make_room(capacity);
            void* fresh = from_system(capacity);
            if (fresh != nullptr) return fresh;
            shrink(0);
            return from_system(capacity);
        }
        void* address = found->second.back().address;
        found->second.pop_back();
        if (found->second.empty()) cache_.erase(found);
        cached_ -= capacity;
        allow(address, capacity);
        return address;
    }

    // Drop ranges, and then small blocks, those that lay unused longest, until at most `most` bytes are kept.
    void shrink(size_t most) {
        if (kept() > most) ranges_.drop(most > cached_ ? most - cached_ : 0);
        while (kept() > most) {
            auto oldest = cache_.begin();
            for (auto found = cache_.begin(); found != cache_.end(); ++found)
                if (found->second.front().since < oldest->second.front().since) oldest = found;
            drop(oldest->second.front().address, oldest->first);
            cached_ -= oldest->first;
            oldest->second.erase(oldest->second.begin());
            if (oldest->second.empty()) cache_.erase(oldest);
        }
    }

    static void drop(void* address, size_t capacity) {
        allow(address, capacity);
        to_system(address);
    }

    std::mutex mutex_;
    // By size, each in the order of return; no entry is empty.
    std::map<size_t, std::vector<Kept>> cache_;
    Ranges ranges_;
    size_t in_use_ = 0, cached_ = 0, peak_ = 0, window_peak_ = 0, earlier_peak_ = 0;
    uint64_t taken_ = 0;
};

// Never destroyed: blocks may outlive static destructors. A fork waits until nobody holds the lock, so that the child
// finds the pool in order.
Pool& pool() {
    static Pool* const made = [] {
        Pool* fresh = new Pool;
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork([] { pool().mutex().lock(); }, [] { pool().mutex().unlock(); }, [] { pool().mutex().unlock(); });
#endif
        return fresh;
    }();
    return *made;
}

size_t checked_class(int64_t bytes) {
    if (bytes < 0) throw std::invalid_argument("a block must not have a negative size");
    if (static_cast<uint64_t>(bytes) > kLargest) throw std::bad_alloc();
    return size_class(static_cast<size_t>(bytes));
}

}  // namespace

Block::Block(int64_t bytes) : size_(bytes), capacity_(checked_class(bytes)) {
    data_ = pool().take(capacity_);
    forbid(static_cast<char*>(data_) + bytes, capacity_ - static_cast<size_t>(bytes));
}

Block::Block(Block&& other) noexcept : data_(other.data_), size_(other.size_), capacity_(other.capacity_) {
    other.data_ = nullptr;
}

Block::~Block() {
    if (data_ == nullptr) return;
    forbid(data_, capacity_);
    pool().give(data_, capacity_);
}

MemoryReport memory_report(bool reset_peak) { return pool().report(reset_peak); }

void release_memory() { pool().release(); }

}  // namespace autometa
