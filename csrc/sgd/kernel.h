// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

template <class T>
void sgd(T* __restrict p, const T* __restrict g, T* __restrict velocity, int64_t n, T rate, T decay, T momentum) {
    if (velocity == nullptr) {
        for (int64_t i = 0; i < n; ++i) p[i] -= rate * (g[i] + decay * p[i]);
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        const T step = momentum * velocity[i] + (g[i] + decay * p[i]);
        velocity[i] = step;
        p[i] -= rate * step;
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
