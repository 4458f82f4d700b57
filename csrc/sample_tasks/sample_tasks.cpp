#include "formula.h"

#include <algorithm>
#include <stdexcept>
#include <string>

#include "autometa.h"

namespace autometa {

namespace {

constexpr int64_t kMostImages = (int64_t{1} << 32) - 1;  // of a class: what the generator can choose from

void check(const int64_t* class_start, int64_t all_classes, const int64_t* classes, int64_t selectable,
           const int64_t* task_ids, int64_t tasks, int64_t need) {
    for (int64_t i = 0; i < selectable; ++i)
        if (classes[i] < 0 || classes[i] >= all_classes)
            throw std::invalid_argument("classes must lie in 0.." + std::to_string(all_classes - 1));
    for (int64_t i = 0; i < selectable; ++i) {
        const int64_t size = class_start[classes[i] + 1] - class_start[classes[i]];
        if (class_start[classes[i]] < 0 || size > kMostImages)
            throw std::invalid_argument("class_start must rise from 0, by less than 2^32 a class");
        if (size < need)
            throw std::invalid_argument("a task needs " + std::to_string(need) + " images per class, class " +
                                        std::to_string(classes[i]) + " has " + std::to_string(size));
    }
    if (std::any_of(task_ids, task_ids + tasks, [](int64_t id) { return id < 0; }))
        throw std::invalid_argument("task_ids must be at least 0");
}

void check_groups(const int64_t* group_start, int64_t groups, int64_t selectable, TaskShape shape) {
    if (groups < 1 || group_start[0] != 0 || group_start[groups] != selectable)
        throw std::invalid_argument("group_start must go from 0 to the number of classes");
    for (int64_t g = 0; g < groups; ++g) {
        const int64_t count = group_start[g + 1] - group_start[g];
        if (count < 0 || count * shape.rotations < shape.ways)
            throw std::invalid_argument("group " + std::to_string(g) + " has too few classes for " +
                                        std::to_string(shape.ways) + " ways");
    }
}

}  // namespace

void sample_tasks(const int64_t* class_start, int64_t all_classes, const int64_t* classes, int64_t selectable,
                  const int64_t* group_start, int64_t groups, const int64_t* task_ids, int64_t tasks, TaskShape shape, uint32_t seed, int64_t* image,
                  int64_t* rotation, int64_t* chosen, int) {
    const int64_t each = shape.shots + shape.queries;
    check(class_start, all_classes, classes, selectable, task_ids, tasks, each);
    check_groups(group_start, groups, selectable, shape);
    for (int64_t task = 0; task < tasks; ++task) {
        Draws draws(seed, kTask, static_cast<uint64_t>(task_ids[task]));
        int64_t* virtual_class = chosen + task * shape.ways;
        const Group group =
            group_of(draws, static_cast<uint64_t>(shape.ways + shape.ways * each), group_start, groups);
        permutation(draws, 0, shape.ways, group.count * shape.rotations, virtual_class);
        for (int64_t way = 0; way < shape.ways; ++way) {
            const int64_t turns = group.turns(virtual_class[way]), place = group.place(virtual_class[way]);
            virtual_class[way] = turns * selectable + place;
            const int64_t real = classes[place];
            const int64_t start = class_start[real];
            int64_t* found = image + (task * shape.ways + way) * each;
            permutation(draws, static_cast<uint64_t>(shape.ways + way * each), each, class_start[real + 1] - start,
                        found);
            for (int64_t i = 0; i < each; ++i) found[i] += start;
            rotation[task * shape.ways + way] = turns;
        }
    }
}

}  // namespace autometa
