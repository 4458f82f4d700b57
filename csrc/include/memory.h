// Big buffers that are used again and again: faulting in a fresh page costs more than filling it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace autometa {

// Uninitialised memory, returned to a pool shared by all threads when the block dies. Addresses are multiples of 64; big
// blocks lie on huge pages where the system has them.
class Block {
public:
    // Throws std::bad_alloc where the system has no more, std::invalid_argument for a negative size.
    explicit Block(int64_t bytes);
    ~Block();
    Block(Block&& other) noexcept;
    Block(const Block&) = delete;
    Block& operator=(const Block&) = delete;
    Block& operator=(Block&&) = delete;

    void* data() const { return data_; }
    int64_t size() const { return size_; }
    float* floats() const { return static_cast<float*>(data_); }

private:
    void* data_;
    int64_t size_;
    size_t capacity_;
};

// Bytes, rounded up as the pool does: in blocks that live, in blocks kept for later, and the most that lived at once.
struct MemoryReport {
    int64_t in_use, cached, peak;
};

// The peak counts from the last report that reset it.
MemoryReport memory_report(bool reset_peak);

// Give all blocks kept for later back to the system.
void release_memory();

}  // namespace autometa
