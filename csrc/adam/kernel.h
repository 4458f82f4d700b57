// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

template <class T>
void adam(T* __restrict p, const T* __restrict g, T* __restrict v, T* __restrict m, int64_t n, const AdamStep<T>& step) {
    const AdamStep<T> s = step;
    if (m == nullptr) {
        for (int64_t i = 0; i < n; ++i) adam_element(p[i], g[i], v[i], s);
        return;
    }
    for (int64_t i = 0; i < n; ++i) adam_element(p[i], g[i], v[i], m[i], s);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
