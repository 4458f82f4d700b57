#include <stdexcept>
#include <string>

#include "autometa.h"

namespace autometa {

namespace {

void check_index(const char* name, const int64_t* table, int64_t count, int64_t limit) {
    for (int64_t i = 0; i < count; ++i)
        if (table[i] < 0 || table[i] >= limit)
            throw std::invalid_argument(std::string(name) + " must lie in 0.." + std::to_string(limit - 1));
}

}  // namespace

void Arena::check() const {
    for (int64_t layout = 0; layout < layouts; ++layout) {
        const int64_t* edges = bounds + layout * (kinds + 1);
        bool rising = edges[0] >= 0 && edges[kinds] <= row;
        for (int64_t kind = 0; kind < kinds; ++kind) rising = rising && edges[kind] <= edges[kind + 1];
        if (!rising)
            throw std::invalid_argument("bounds must rise along each row and lie in 0.." + std::to_string(row));
    }
    check_index("group_of_slot", group_of_slot, slots, groups);
    check_index("layout_of_slot", layout_of_slot, slots, layouts);
}

}  // namespace autometa
