// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

template <class T>
void adam(T* __restrict p, const T* __restrict g, T* __restrict v, T* __restrict m, int64_t n, const AdamStep<T>& s) {
    const T rate = s.rate, decay = s.decay, unbias2 = s.unbias2, eps = s.eps;
    const T beta1 = s.beta1, keep1 = s.keep1, beta2 = s.beta2, keep2 = s.keep2;
    if (m == nullptr) {
        for (int64_t i = 0; i < n; ++i) {
            const T grad = g[i] + decay * p[i];
            const T second = beta2 * v[i] + keep2 * (grad * grad);
            v[i] = second;
            p[i] -= rate * grad / (square_root(second * unbias2) + eps);
        }
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        const T grad = g[i] + decay * p[i];
        const T second = beta2 * v[i] + keep2 * (grad * grad);
        const T first = beta1 * m[i] + keep1 * grad;
        v[i] = second;
        m[i] = first;
        p[i] -= rate * first / (square_root(second * unbias2) + eps);
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
