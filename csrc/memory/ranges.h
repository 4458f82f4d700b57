// Address ranges of big blocks: pieces of a few large mappings, so that what lies free can serve any size.
#pragma once

#include <cstddef>
#include <map>

namespace autometa {

class Ranges {
public:
    // Sizes are multiples of this.
    static constexpr size_t kPage = 4096;

    // The place that would be taken: where the fewest bytes are `fresh`, not resident yet, and then where least is left.
    struct Fit {
        char* at = nullptr;
        size_t fresh = 0;
    };
    Fit find(size_t bytes) const;
    void take(const Fit& fit, size_t bytes);
    void give(void* at, size_t bytes);

    // Map more, at least so many bytes; false where the system refuses.
    bool grow(size_t bytes);
    // Give pages of free ranges back, the highest first, until at most `most` bytes are resident.
    void drop(size_t most);
    // Unmap what holds no block.
    void unmap();

    // Bytes of free ranges that are resident.
    size_t resident() const { return resident_; }

private:
    struct Range {
        size_t bytes;
        bool resident;
    };
    using Free = std::map<char*, Range>;

    void insert(char* at, Range range);
    bool follows(Free::const_iterator left, Free::const_iterator right) const;

    Free free_;
    std::map<char*, size_t> mappings_;
    size_t resident_ = 0;
};

}  // namespace autometa
