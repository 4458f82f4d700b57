#include <algorithm>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

namespace {

// Counts the step of every slot and kind that is not frozen and returns its constants.
template <class T>
std::vector<AdamStep<T>> begin_step(int64_t* steps, const double* lr, const double* weight_decay, const Arena& arena,
                                    AdamConstants c) {
    std::vector<AdamStep<T>> table(static_cast<size_t>(arena.slots * arena.kinds));
    for (int64_t slot = 0; slot < arena.slots; ++slot)
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const int64_t at = slot * arena.kinds + kind;
            const int64_t of_group = arena.group_of_slot[slot] * arena.kinds + kind;
            if (lr[of_group] == 0.0) continue;
            table[static_cast<size_t>(at)] = adam_step<T>(++steps[at], lr[of_group], weight_decay[of_group], c);
        }
    return table;
}

}  // namespace

template <class T>
void adam(T* phi, const T* grad, T* second, T* first, int64_t* steps, const double* lr, const double* weight_decay,
          const Arena& arena, AdamConstants constants, int threads) {
    arena.check();
    const std::vector<AdamStep<T>> table = begin_step<T>(steps, lr, weight_decay, arena, constants);
    const auto run = arena_kernels<T>().adam;
    parallel_blocks(arena.slots, arena.row, threads, [&](int64_t slot, int64_t begin, int64_t end) {
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const AdamStep<T>& step = table[static_cast<size_t>(slot * arena.kinds + kind)];
            const int64_t from = std::max(begin, arena.edge(slot, kind));
            const int64_t n = std::min(end, arena.edge(slot, kind + 1)) - from;
            if (n <= 0 || frozen(step)) continue;
            const int64_t at = slot * arena.row + from;
            run(phi + at, grad + at, second + at, first ? first + at : nullptr, n, step);
        }
    });
}

template void adam<float>(float*, const float*, float*, float*, int64_t*, const double*, const double*, const Arena&,
                          AdamConstants, int);
template void adam<double>(double*, const double*, double*, double*, int64_t*, const double*, const double*,
                           const Arena&, AdamConstants, int);

}  // namespace autometa
