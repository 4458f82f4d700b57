// Sizes from outside, checked before they are multiplied.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace autometa {

// The product. Throws std::invalid_argument where a size is negative, or the product more than any memory holds.
inline int64_t elements(const char* what, std::initializer_list<int64_t> sizes) {
    constexpr int64_t kMost = int64_t{1} << 44;
    int64_t product = 1;
    bool empty = false, fits = true;
    for (const int64_t size : sizes) {
        if (size < 0) throw std::invalid_argument(std::string(what) + ": a size is negative, " + std::to_string(size));
        empty = empty || size == 0;
        fits = fits && (size == 0 || product <= kMost / size);
        if (fits && size > 0) product *= size;
    }
    if (!fits && !empty) throw std::invalid_argument(std::string(what) + ": the sizes are larger than any memory");
    return empty ? 0 : product;
}

}  // namespace autometa
