// Addresses and sizes as Python hands them over: what is null or negative is refused before anything reads it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

#include "sizes.h"

namespace autometa {

using Address = std::uintptr_t;

// An address that may be null.
template <class T>
T* at(Address address) {
    return reinterpret_cast<T*>(address);
}

inline void require(bool holds, const std::string& what) {
    if (!holds) throw std::invalid_argument(what);
}

// The address of that many elements. Throws std::invalid_argument where it is null and there are some.
template <class T>
T* of(Address address, std::initializer_list<int64_t> sizes, const char* what) {
    require(elements(what, sizes) == 0 || address != 0, std::string(what) + ": its address is null");
    return at<T>(address);
}

}  // namespace autometa
