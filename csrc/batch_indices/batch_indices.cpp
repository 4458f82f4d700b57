#include "formula.h"

#include <numeric>
#include <stdexcept>
#include <utility>
#include <vector>

#include "autometa.h"

namespace autometa {

namespace {

// The shuffle of pass `pass` (Fisher and Yates).
void shuffle(Draws& draws, int64_t pass, std::vector<int64_t>& order) {
    const int64_t items = static_cast<int64_t>(order.size());
    std::iota(order.begin(), order.end(), int64_t{0});
    for (int64_t j = items - 1; j > 0; --j) {
        const int64_t other = partner(draws, pass, items, j);
        std::swap(order[static_cast<size_t>(j)], order[static_cast<size_t>(other)]);
    }
}

}  // namespace

void batch_indices(const int64_t* task_ids, int64_t tasks, BatchShape shape, bool passes, uint32_t seed,
                   int64_t* index, int) {
    const int64_t begin = shape.first_step * shape.batch, count = shape.steps * shape.batch;
    std::vector<int64_t> order(passes ? static_cast<size_t>(shape.items) : 0);
    for (int64_t task = 0; task < tasks; ++task, index += count) {
        if (task_ids[task] < 0) throw std::invalid_argument("task_ids must be at least 0");
        Draws draws(seed, kBatch, static_cast<uint64_t>(task_ids[task]));
        int64_t shuffled = -1;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t draw = begin + i;
            if (!passes) {
                index[i] = draws.below(static_cast<uint64_t>(draw), shape.items);
                continue;
            }
            if (draw / shape.items != shuffled) {
                shuffled = draw / shape.items;
                shuffle(draws, shuffled, order);
            }
            index[i] = order[static_cast<size_t>(draw % shape.items)];
        }
    }
}

}  // namespace autometa
