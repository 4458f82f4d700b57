#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define AUTOMETA_HAS_FORK 1
#endif

namespace autometa {

namespace {

class Pool {
public:
    // False where another caller has the pool.
    bool run(int64_t items, int threads, const std::function<void(int64_t)>& body) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) return false;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(threads - 1);
            body_ = &body;
            items_ = items;
            next_.store(0, std::memory_order_relaxed);
            wanted_ = std::min(threads - 1, workers_);
            running_ = wanted_;
            ++generation_;
        }
        wake_.notify_all();
        work();
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, [&] { return running_ == 0; });
        body_ = nullptr;
        return true;
    }

private:
    // As many workers as the system grants; fewer is no error.
    void grow(int count) {
        while (workers_ < count) {
            try {
                std::thread(&Pool::serve, this, workers_, generation_).detach();
            } catch (const std::system_error&) {
                return;
            }
            ++workers_;
        }
    }

    void work() {
        for (int64_t item; (item = next_.fetch_add(1, std::memory_order_relaxed)) < items_;) (*body_)(item);
    }

    void serve(int number, uint64_t seen) {
        std::unique_lock<std::mutex> lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return generation_ != seen; });
            seen = generation_;
            if (number >= wanted_) continue;
            lock.unlock();
            work();
            lock.lock();
            if (--running_ == 0) done_.notify_one();
        }
    }

    std::mutex turn_, mutex_;
    std::condition_variable wake_, done_;
    std::atomic<int64_t> next_{0};
    const std::function<void(int64_t)>* body_ = nullptr;
    int64_t items_ = 0;
    uint64_t generation_ = 0;
    int workers_ = 0, wanted_ = 0, running_ = 0;
};

std::atomic<Pool*> current{nullptr};

// A forked child has none of the workers, and locks in any state: it starts anew. The pool is never
// destroyed, since its workers may outlive static destructors.
Pool& pool() {
#ifdef AUTOMETA_HAS_FORK
    static const int registered = pthread_atfork(nullptr, nullptr, [] { current.store(nullptr); });
    (void)registered;
#endif
    Pool* found = current.load(std::memory_order_acquire);
    if (found != nullptr) return *found;
    Pool* made = new Pool;
    if (current.compare_exchange_strong(found, made)) return *made;
    delete made;
    return *found;
}

}  // namespace

void parallel_for(int64_t items, int threads, const std::function<void(int64_t)>& body) {
    const int useful = static_cast<int>(std::min<int64_t>(threads, items));
    if (useful > 1 && pool().run(items, useful, body)) return;
    for (int64_t item = 0; item < items; ++item) body(item);
}

}  // namespace autometa
