#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <mutex>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#define AUTOMETA_HAS_FORK 1
#endif

namespace autometa {

namespace {

// What is left to do: the number of items not yet taken, and how many workers may take them, in one word. Whoever
// lowers the number has an item of the job at hand, and that job cannot end before the item is done: a worker that
// wakes late finds nothing and keeps nobody waiting.
struct Ticket {
    static constexpr int kItemBits = 48;
    static uint64_t make(int64_t items, int workers) {
        return static_cast<uint64_t>(workers) << kItemBits | static_cast<uint64_t>(items);
    }
    static int64_t items(uint64_t ticket) { return static_cast<int64_t>(ticket & ((uint64_t{1} << kItemBits) - 1)); }
    static int workers(uint64_t ticket) { return static_cast<int>(ticket >> kItemBits); }
};

inline void rest() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

// Looks again and again for a moment, which is shorter than going to sleep and being woken.
template <class Condition>
bool soon(const Condition& condition) {
    for (int i = 0; i < 4000; ++i) {
        if (condition()) return true;
        rest();
    }
    return false;
}

class Pool {
public:
    // False where another caller has the pool.
    bool run(int64_t items, int threads, const std::function<void(int64_t)>& body) {
        std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
        if (!turn.owns_lock()) return false;
        {
            std::lock_guard<std::mutex> lock(mutex_);
            grow(threads - 1);
            body_.store(&body, std::memory_order_relaxed);
            pending_.store(items, std::memory_order_relaxed);
            ticket_.store(Ticket::make(items, threads - 1), std::memory_order_release);
        }
        wake_.notify_all();
        work(-1);
        const auto done = [&] { return pending_.load(std::memory_order_acquire) == 0; };
        if (soon(done)) return true;
        std::unique_lock<std::mutex> lock(mutex_);
        done_.wait(lock, done);
        return true;
    }

private:
    // As many workers as the system grants; fewer is no error.
    void grow(int count) {
        while (workers_ < count) {
            try {
                std::thread(&Pool::serve, this, workers_).detach();
            } catch (const std::system_error&) {
                return;
            }
            ++workers_;
        }
    }

    // May worker `number` (-1: the caller) take an item?
    static bool open(uint64_t ticket, int number) {
        return Ticket::items(ticket) > 0 && number < Ticket::workers(ticket);
    }

    void work(int number) {
        uint64_t ticket = ticket_.load(std::memory_order_relaxed);
        while (open(ticket, number)) {
            if (!ticket_.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel)) continue;
            (*body_.load(std::memory_order_relaxed))(Ticket::items(ticket) - 1);
            if (pending_.fetch_sub(1, std::memory_order_acq_rel) == 1 && number >= 0) {
                std::lock_guard<std::mutex> lock(mutex_);
                done_.notify_one();
            }
            ticket = ticket_.load(std::memory_order_relaxed);
        }
    }

    void serve(int number) {
        std::fesetenv(FE_DFL_ENV);  // not that of the thread that happened to ask first
        const auto wanted = [&] { return open(ticket_.load(std::memory_order_relaxed), number); };
        for (;;) {
            work(number);
            if (soon(wanted)) continue;
            std::unique_lock<std::mutex> lock(mutex_);
            wake_.wait(lock, wanted);
        }
    }

    std::mutex turn_, mutex_;
    std::condition_variable wake_, done_;
    std::atomic<uint64_t> ticket_{0};
    std::atomic<int64_t> pending_{0};
    std::atomic<const std::function<void(int64_t)>*> body_{nullptr};
    int workers_ = 0;
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
