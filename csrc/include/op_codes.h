// The primitives of op-instance tables, as kernels/op_codes.def lists them.
#pragma once

#include <cstdint>

namespace autometa {

#define PRIMITIVE(name, kind, kernel, dilation, stages)
#define KIND(name) name,
enum class Kind {
#include "op_codes.def"
};
#undef KIND
#undef PRIMITIVE

struct Primitive {
    const char* name;
    Kind kind;
    int64_t kernel, dilation, stages;
};

// By code.
#define KIND(name)
#define PRIMITIVE(name, kind, kernel, dilation, stages) {#name, Kind::kind, kernel, dilation, stages},
constexpr Primitive kPrimitives[] = {
#include "op_codes.def"
};
#undef PRIMITIVE
#undef KIND

constexpr int64_t kCodes = sizeof(kPrimitives) / sizeof(kPrimitives[0]);

inline Kind kind_of(int64_t code) { return kPrimitives[code].kind; }

}  // namespace autometa
