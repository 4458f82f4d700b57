// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

template <class T>
void sgd(T* __restrict p, const T* __restrict g, T* __restrict velocity, int64_t n, T rate, T decay, T momentum) {
    if (velocity == nullptr) {
        for (int64_t i = 0; i < n; ++i) sgd_element(p[i], g[i], rate, decay);
        return;
    }
    for (int64_t i = 0; i < n; ++i) sgd_element(p[i], g[i], velocity[i], rate, decay, momentum);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
