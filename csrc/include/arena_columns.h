// Rows of an arena as the CUDA kernels walk them: a thread has 16 bytes of a row at a time. Indices out of range, which
// nobody can report without stopping the device, are clamped so that no access leaves its tensor.
#pragma once

#include "arena.h"
#include "device_block.h"

namespace autometa {
namespace cuda {

template <class T>
struct alignas(16) Vector {
    static constexpr int kLanes = 16 / sizeof(T);
    T lane[kLanes];
};

// Whether rows of so many elements at these addresses can be read 16 bytes at a time.
template <class T, class... Pointers>
bool rows_aligned(int64_t row, const Pointers*... pointers) {
    const uintptr_t places = (uintptr_t{0} | ... | reinterpret_cast<uintptr_t>(pointers));
    return places % 16 == 0 && row % Vector<T>::kLanes == 0;
}

// 16 bytes at once, by name: the compiler likes to take such stores apart where lanes may also be written one by one.
AUTOMETA_FORMULA void write_vector(float* to, const Vector<float>& value) {
#if defined(__CUDA_ARCH__)
    asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(to)), "f"(value.lane[0]),
                 "f"(value.lane[1]), "f"(value.lane[2]), "f"(value.lane[3])
                 : "memory");
#else
    *reinterpret_cast<Vector<float>*>(to) = value;
#endif
}
AUTOMETA_FORMULA void write_vector(double* to, const Vector<double>& value) {
#if defined(__CUDA_ARCH__)
    asm volatile("st.global.v2.f64 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(to)), "d"(value.lane[0]),
                 "d"(value.lane[1])
                 : "memory");
#else
    *reinterpret_cast<Vector<double>*>(to) = value;
#endif
}

// Columns column .. + kLanes - 1 of a row, 0 beyond its end.
template <class T>
AUTOMETA_BOTH Vector<T> load(const T* begin, int64_t column, int64_t row, bool aligned) {
    Vector<T> found{};
    if (aligned) {
        if (column < row) found = *reinterpret_cast<const Vector<T>*>(begin + column);
        return found;
    }
    AUTOMETA_UNROLL
    for (int i = 0; i < Vector<T>::kLanes; ++i)
        if (column + i < row) found.lane[i] = begin[column + i];
    return found;
}

// Write the lanes whose bits are set in `live`, and no others.
template <class T>
AUTOMETA_BOTH void store(T* begin, int64_t column, const Vector<T>& value, unsigned live, bool aligned) {
    if (aligned && live == (1u << Vector<T>::kLanes) - 1u) {
        write_vector(begin + column, value);
        return;
    }
    AUTOMETA_UNROLL
    for (int i = 0; i < Vector<T>::kLanes; ++i)
        if (live >> i & 1u) begin[column + i] = value.lane[i];
}

struct Span {
    int64_t first, last;  // both included
};

struct Columns {
    int64_t first, last;  // [first, last)

    // The tiles of a row (see Tiles) that hold some of these; the first tile stands for none.
    template <class Tile>
    AUTOMETA_BOTH Span tiles() const {
        return first < last ? Span{first / Tile::kColumns, (last - 1) / Tile::kColumns} : Span{0, 0};
    }

    // Bits of the lanes of a vector at `column` that lie in here.
    template <class T>
    AUTOMETA_BOTH unsigned lanes(int64_t column) const {
        unsigned found = 0;
        AUTOMETA_UNROLL
        for (int i = 0; i < Vector<T>::kLanes; ++i)
            if (column + i >= first && column + i < last) found |= 1u << i;
        return found;
    }

    AUTOMETA_BOTH bool meets(int64_t from, int64_t to) const { return first < to && from < last; }
};

AUTOMETA_FORMULA Columns columns_of(const Arena& arena, int64_t layout, int64_t kind) {
    const int64_t* edges = arena.bounds + clamped(layout, arena.layouts) * (arena.kinds + 1) + kind;
    return {clamped(edges[0], arena.row + 1), clamped(edges[1], arena.row + 1)};
}

AUTOMETA_FORMULA int64_t group_of(const Arena& arena, int64_t slot) {
    return clamped(arena.group_of_slot[slot], arena.groups);
}

// A row of an arena cut into tiles, one for each block of threads; every thread has n vectors of a tile. A row of no
// columns is one tile, so that there is a block to speak for every slot.
template <class T, int n>
struct Tiles {
    static constexpr int kVectors = n;
    static constexpr int64_t kColumns = int64_t{kThreads} * kVectors * Vector<T>::kLanes;

    int64_t per_row;
    explicit AUTOMETA_BOTH Tiles(int64_t row) : per_row(row > 0 ? (row + kColumns - 1) / kColumns : 1) {}

    // Block numbers fit 32 bits, whose division is fast.
    AUTOMETA_BOTH int64_t row_of(int64_t block) const {
        return static_cast<uint32_t>(block) / static_cast<uint32_t>(per_row);
    }
    AUTOMETA_BOTH int64_t tile_of(int64_t block) const { return block - row_of(block) * per_row; }
    // The column at which vector number k of a thread begins.
    static AUTOMETA_BOTH int64_t column(int64_t tile, int k, int thread) {
        return tile * kColumns + (int64_t{k} * kThreads + thread) * Vector<T>::kLanes;
    }
};

}  // namespace cuda
}  // namespace autometa
