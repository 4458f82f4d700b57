#include "ranges.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace autometa {

namespace {

constexpr size_t kHuge = size_t{2} << 20;
constexpr size_t kMapping = size_t{64} << 20;
// The first mapping has small pages, so that little work takes little memory: no more than it touches.
constexpr size_t kFirst = size_t{4} << 20;

#if defined(__linux__)
char* map(size_t bytes, bool huge) {
    void* raw = mmap(nullptr, bytes + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (raw == MAP_FAILED) return nullptr;
    const uintptr_t begin = reinterpret_cast<uintptr_t>(raw), start = (begin + kHuge - 1) / kHuge * kHuge;
    if (start != begin) munmap(raw, start - begin);
    if (start != begin + kHuge) munmap(reinterpret_cast<void*>(start + bytes), begin + kHuge - start);
    void* found = reinterpret_cast<void*>(start);
    madvise(found, bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // refused by some kernels: then theirs serve
    return static_cast<char*>(found);
}
void forget(char* at, size_t bytes) { madvise(at, bytes, MADV_DONTNEED); }
void unmap_range(char* at, size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    ASAN_UNPOISON_MEMORY_REGION(at, bytes);  // others may get these addresses
#endif
    munmap(at, bytes);
}
#else
char* map(size_t, bool) { return nullptr; }
void forget(char*, size_t) {}
void unmap_range(char*, size_t) {}
#endif

}  // namespace

// Whether `right` begins where `left` ends, in the same mapping.
bool Ranges::follows(Free::const_iterator left, Free::const_iterator right) const {
    return left->first + left->second.bytes == right->first && mappings_.count(right->first) == 0;
}

Ranges::Fit Ranges::find(size_t bytes) const {
    Fit best;
    size_t length = 0;
    for (auto range = free_.begin(); range != free_.end();) {
        Fit fit{range->first, 0};
        size_t run = 0;
        do {  // all that lies free side by side
            const size_t taken = std::min(range->second.bytes, bytes > run ? bytes - run : 0);
            if (!range->second.resident) fit.fresh += taken;
            run += range->second.bytes;
            ++range;
        } while (range != free_.end() && follows(std::prev(range), range));
        if (run < bytes) continue;
        if (best.at == nullptr || std::make_pair(fit.fresh, run) < std::make_pair(best.fresh, length))
            best = fit, length = run;
    }
    return best;
}

void Ranges::take(const Fit& fit, size_t bytes) {
    char* at = fit.at;
    while (bytes > 0) {
        const auto range = free_.find(at);
        const Range own = range->second;
        const size_t taken = std::min(own.bytes, bytes);
        if (own.resident) resident_ -= taken;
        auto hint = free_.erase(range);
        if (taken < own.bytes) free_.emplace_hint(hint, at + taken, Range{own.bytes - taken, own.resident});
        at += taken;
        bytes -= taken;
    }
}

void Ranges::insert(char* at, Range range) {
    auto own = free_.emplace(at, range).first;
    if (own != free_.begin()) {
        const auto left = std::prev(own);
        if (left->second.resident == range.resident && follows(left, own)) {
            left->second.bytes += own->second.bytes;
            free_.erase(own);
            own = left;
        }
    }
    const auto right = std::next(own);
    if (right != free_.end() && right->second.resident == range.resident && follows(own, right)) {
        own->second.bytes += right->second.bytes;
        free_.erase(right);
    }
}

void Ranges::give(void* at, size_t bytes) {
    insert(static_cast<char*>(at), {bytes, true});
    resident_ += bytes;
}

bool Ranges::grow(size_t bytes) {
    const bool little = mappings_.empty() && bytes <= kFirst;
    bytes = std::max(little ? kFirst : kMapping, (bytes + kHuge - 1) / kHuge * kHuge);
    char* at = map(bytes, !little);
    if (at == nullptr) return false;
    mappings_.emplace(at, bytes);
    insert(at, {bytes, false});
    return true;
}

void Ranges::drop(size_t most) {
    while (resident_ > most) {
        auto range = std::prev(free_.end());
        while (!range->second.resident) --range;
        char* at = range->first;
        const size_t bytes = range->second.bytes;
        forget(at, bytes);
        resident_ -= bytes;
        free_.erase(range);
        insert(at, {bytes, false});
    }
}

void Ranges::unmap() {
    drop(0);
    for (auto mapping = mappings_.begin(); mapping != mappings_.end();) {
        const auto range = free_.find(mapping->first);
        if (range == free_.end() || range->second.bytes != mapping->second) {
            ++mapping;
            continue;
        }
        unmap_range(mapping->first, mapping->second);
        free_.erase(range);
        mapping = mappings_.erase(mapping);
    }
}

}  // namespace autometa
