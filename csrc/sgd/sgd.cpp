#include <algorithm>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

template <class T>
void sgd(T* phi, const T* grad, T* velocity, const double* lr, const double* weight_decay, const Arena& arena,
         double momentum, int threads) {
    arena.check();
    const auto run = arena_kernels<T>().sgd;
    parallel_blocks(arena.slots, arena.row, threads, [&](int64_t slot, int64_t begin, int64_t end) {
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const int64_t of_group = arena.group_of_slot[slot] * arena.kinds + kind;
            const int64_t from = std::max(begin, arena.edge(slot, kind));
            const int64_t n = std::min(end, arena.edge(slot, kind + 1)) - from;
            if (n <= 0 || lr[of_group] == 0.0) continue;
            const int64_t at = slot * arena.row + from;
            run(phi + at, grad + at, velocity ? velocity + at : nullptr, n, static_cast<T>(lr[of_group]),
                static_cast<T>(weight_decay[of_group]), static_cast<T>(momentum));
        }
    });
}

template void sgd<float>(float*, const float*, float*, const double*, const double*, const Arena&, double, int);
template void sgd<double>(double*, const double*, double*, const double*, const double*, const Arena&, double, int);

}  // namespace autometa
