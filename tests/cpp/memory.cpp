#include "memory.h"

#include <atomic>
#include <thread>

#include "check.h"
#include "parallel.h"

#if defined(__unix__) && !defined(__SANITIZE_THREAD__)
#include <sys/wait.h>
#include <unistd.h>
#define AUTOMETA_TEST_FORK 1
#endif

namespace autometa_test {

using autometa::Block;

namespace {

// Every item once, whatever the threads.
void all_items(int64_t items, int threads) {
    std::vector<std::atomic<int>> seen(size(items));
    autometa::parallel_for(items, threads, [&](int64_t i) { seen[size(i)].fetch_add(1, std::memory_order_relaxed); });
    bool once = true;
    for (const std::atomic<int>& count : seen) once = once && count.load(std::memory_order_relaxed) == 1;
    expect(once, "parallel_for visits each item once");
}

// Results of the workers are visible to the caller without further ado.
void sums(int threads) {
    Integers squares(100);
    autometa::parallel_for(100, threads, [&](int64_t i) { squares[size(i)] = i * i; });
    int64_t sum = 0;
    for (const int64_t square : squares) sum += square;
    expect(sum == 328350, "parallel_for ends after its items");
}

}  // namespace

void test_threads() {
    for (const int threads : {1, 2, 3, 4}) {
        for (int round = 0; round < 50; ++round) sums(threads);
        for (const int64_t items : {0, 1, 2, 7, 64}) all_items(items, threads);
    }
    const auto caller = [] {
        for (int round = 0; round < 50; ++round) sums(3);
    };
    std::thread other(caller), third(caller);
    caller();
    other.join();
    third.join();
#if AUTOMETA_TEST_FORK
    const pid_t child = fork();
    if (child == 0) {
        const int before = failures();
        for (const int threads : {1, 3}) sums(threads);
        Block block(1 << 20);
        block.floats()[0] = 1.0f;
        _exit(failures() - before);
    }
    int status = 1;
    expect(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child");
#endif
}

void test_memory() {
    const int64_t before = autometa::memory_report(true).in_use;
    {
        std::vector<Block> blocks;
        for (const int64_t bytes : {0, 1, 63, 1024, 1025, 70000, 1 << 20, (2 << 20) + 1, 5 << 20}) {
            blocks.emplace_back(bytes);
            const Block& block = blocks.back();
            expect(block.size() == bytes, "a block has the size asked for");
            expect(reinterpret_cast<uintptr_t>(block.data()) % 64 == 0, "alignment");
            if (bytes > 0) std::memset(block.data(), 7, size(bytes));
        }
        Block moved(std::move(blocks.back()));
        expect(blocks.back().data() == nullptr && moved.floats() != nullptr, "moving a block");
    }
    const autometa::MemoryReport report = autometa::memory_report(false);
    expect(report.in_use == before && report.cached > 0 && report.peak > before, "blocks return to the pool");
    expect_refusal([] { Block negative(-1); }, "negative");
    bool refused = false;
    try {
        Block endless(std::numeric_limits<int64_t>::max());
    } catch (const std::bad_alloc&) {
        refused = true;
    }
    expect(refused, "more than any system has");
    std::vector<std::thread> callers;
    for (int t = 0; t < 3; ++t)
        callers.emplace_back([t] {
            for (int i = 0; i < 200; ++i) {
                Block block(1000 + 5000 * ((i + t) % 5));
                block.floats()[0] = static_cast<float>(i);
                if (i % 50 == 0) autometa::release_memory();
            }
        });
    for (std::thread& caller : callers) caller.join();
}

}  // namespace autometa_test
