#include <algorithm>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

template <class T>
void finite_slots(const T* phi, bool* finite, int64_t slots, int64_t row, int threads) {
    const int64_t blocks = blocks_of(row);
    std::vector<unsigned char> good(static_cast<size_t>(slots * blocks));
    const auto run = arena_kernels<T>().all_finite;
    parallel_blocks(slots, row, threads, [&](int64_t slot, int64_t begin, int64_t end) {
        good[static_cast<size_t>(slot * blocks + begin / kBlock)] = run(phi + slot * row + begin, end - begin);
    });
    for (int64_t slot = 0; slot < slots; ++slot)
        finite[slot] = std::all_of(good.begin() + slot * blocks, good.begin() + (slot + 1) * blocks,
                                   [](unsigned char ok) { return ok != 0; });
}

template void finite_slots<float>(const float*, bool*, int64_t, int64_t, int);
template void finite_slots<double>(const double*, bool*, int64_t, int64_t, int);

}  // namespace autometa
