// Included once per instruction set, see isa/table.h.

namespace autometa {
namespace AUTOMETA_ISA {

inline void scale_bytes(const uint8_t* __restrict from, float* __restrict to, int64_t n, float scale, float shift) {
    for (int64_t i = 0; i < n; ++i) to[i] = scaled(from[i], scale, shift);
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
