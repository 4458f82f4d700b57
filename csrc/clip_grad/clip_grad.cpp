#include <algorithm>
#include <cmath>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

template <class T>
void clip_grad(T* grad, T* norms, const double* max_norm, const Arena& arena, int threads) {
    arena.check();
    const ArenaKernels<T>& run = arena_kernels<T>();
    const int64_t kinds = arena.kinds, blocks = blocks_of(arena.row), cells = arena.slots * kinds;
    // Sums of fixed blocks of columns, added in order: the same bits for any number of threads.
    std::vector<double> partial(static_cast<size_t>(cells * blocks), 0.0), factor(static_cast<size_t>(cells), 1.0);
    parallel_blocks(arena.slots, arena.row, threads, [&](int64_t slot, int64_t begin, int64_t end) {
        for (int64_t kind = 0; kind < kinds; ++kind) {
            const int64_t from = std::max(begin, arena.edge(slot, kind));
            const int64_t n = std::min(end, arena.edge(slot, kind + 1)) - from;
            if (n <= 0) continue;
            partial[static_cast<size_t>((slot * kinds + kind) * blocks + begin / kBlock)] =
                run.sum_of_squares(grad + slot * arena.row + from, n);
        }
    });
    bool clipping = false;
    for (int64_t cell = 0; cell < cells; ++cell) {
        double sum = 0.0;
        for (int64_t block = 0; block < blocks; ++block) sum += partial[static_cast<size_t>(cell * blocks + block)];
        const double norm = std::sqrt(sum);
        const double limit = max_norm[arena.group_of_slot[cell / kinds] * kinds + cell % kinds];
        norms[cell] = static_cast<T>(norm);
        if (!(norm > limit) || !std::isfinite(norm)) continue;
        factor[static_cast<size_t>(cell)] = limit / norm;
        clipping = true;
    }
    if (!clipping) return;
    parallel_blocks(arena.slots, arena.row, threads, [&](int64_t slot, int64_t begin, int64_t end) {
        for (int64_t kind = 0; kind < kinds; ++kind) {
            const double by = factor[static_cast<size_t>(slot * kinds + kind)];
            const int64_t from = std::max(begin, arena.edge(slot, kind));
            const int64_t n = std::min(end, arena.edge(slot, kind + 1)) - from;
            if (n > 0 && by != 1.0) run.scale(grad + slot * arena.row + from, n, static_cast<T>(by));
        }
    });
}

template void clip_grad<float>(float*, float*, const double*, const Arena&, int);
template void clip_grad<double>(double*, double*, const double*, const Arena&, int);

}  // namespace autometa
