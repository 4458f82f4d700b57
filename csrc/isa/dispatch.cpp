#include <atomic>
#include <cstring>

#include "kernels.h"

namespace autometa {

namespace portable {
extern const Kernels table;
}
#ifdef AUTOMETA_X86
namespace avx2 {
extern const Kernels table;
}
namespace avx512 {
extern const Kernels table;
}
#endif

namespace {

struct Found {
    const Kernels* table[3];
    int count;
};

// What this machine runs, widest first.
Found find() {
    Found found{};
#ifdef AUTOMETA_X86
    __builtin_cpu_init();
    const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        found.table[found.count++] = &avx512::table;
    if (has_avx2) found.table[found.count++] = &avx2::table;
#endif
    found.table[found.count++] = &portable::table;
    return found;
}

const Found& available() {
    static const Found found = find();
    return found;
}

const Kernels* lookup(const char* name) {
    const Found& found = available();
    for (int i = 0; i < found.count; ++i)
        if (std::strcmp(found.table[i]->name, name) == 0) return found.table[i];
    return nullptr;
}

std::atomic<const Kernels*>& chosen() {
    static std::atomic<const Kernels*> table{available().table[0]};
    return table;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

const char* kernels_name(int i) { return i < available().count ? available().table[i]->name : nullptr; }

bool use_kernels(const char* name) {
    const Kernels* table = lookup(name);
    if (table != nullptr) chosen().store(table);
    return table != nullptr;
}

}  // namespace autometa
