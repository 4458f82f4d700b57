#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

namespace {

struct Group {
    int64_t layout = -1;
    std::vector<int64_t> members;  // finite slots, in order
};

std::vector<Group> collect(const bool* finite, const Arena& arena) {
    std::vector<Group> groups(static_cast<size_t>(arena.groups));
    for (int64_t slot = 0; slot < arena.slots; ++slot) {
        Group& group = groups[static_cast<size_t>(arena.group_of_slot[slot])];
        const int64_t layout = arena.layout_of_slot[slot];
        if (group.layout >= 0 && group.layout != layout)
            throw std::invalid_argument("the slots of group " + std::to_string(arena.group_of_slot[slot]) +
                                        " have several layouts; a group is one architecture");
        group.layout = layout;
        if (finite[slot]) group.members.push_back(slot);
    }
    return groups;
}

}  // namespace

template <class T>
void reptile(T* theta, const T* phi, const double* step_size, const bool* finite, const Arena& arena, int threads) {
    arena.check();
    const std::vector<Group> groups = collect(finite, arena);
    std::vector<std::vector<const T*>> rows(groups.size());
    for (size_t g = 0; g < groups.size(); ++g)
        for (const int64_t slot : groups[g].members) rows[g].push_back(phi + slot * arena.row);
    const auto run = arena_kernels<T>().reptile;
    const int useful = useful_threads(arena.slots * arena.row, threads);
    const int64_t blocks = blocks_of(arena.row);
    parallel_for(arena.groups * blocks, useful, [&](int64_t item) {
        const int64_t group = item / blocks, begin = item % blocks * kBlock, end = begin + kBlock;
        const std::vector<const T*>& members = rows[static_cast<size_t>(group)];
        if (members.empty()) return;
        const int64_t* edges = arena.bounds + groups[static_cast<size_t>(group)].layout * (arena.kinds + 1);
        for (int64_t kind = 0; kind < arena.kinds; ++kind) {
            const double size = step_size[group * arena.kinds + kind];
            const int64_t from = std::max(begin, edges[kind]), n = std::min(end, edges[kind + 1]) - from;
            if (n > 0 && size != 0.0)
                run(theta + group * arena.row, members.data(), static_cast<int64_t>(members.size()), from, n, size);
        }
    });
}

template void reptile<float>(float*, const float*, const double*, const bool*, const Arena&, int);
template void reptile<double>(double*, const double*, const double*, const bool*, const Arena&, int);

}  // namespace autometa
