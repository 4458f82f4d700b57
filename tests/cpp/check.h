// What the C++ tests share. Buffers are vectors of exactly the size that an entry point may touch, so that a sanitizer
// sees the first float too many; what nobody may read is not a number.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

#include "activation.h"

namespace autometa_test {

using Floats = std::vector<float>;
using Integers = std::vector<int64_t>;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Counts and prints what does not hold.
void expect(bool holds, const std::string& what);
int failures();

inline size_t size(int64_t n) { return static_cast<size_t>(n); }
inline int64_t aligned(int64_t n) { return (n + 15) / 16 * 16; }

// Reproducible numbers (Knuth's MMIX generator).
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 2654435761u + 1) {}
    // In [-1, 1).
    float operator()() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<float>(static_cast<int32_t>(state_ >> 32)) / 2147483648.0f;
    }
    Floats floats(int64_t n) {
        Floats made(size(n));
        for (float& x : made) x = (*this)();
        return made;
    }

private:
    uint64_t state_;
};

// An activation of so many images of so many pixels, its padding not a number.
inline Floats random_activation(Random& random, int64_t images, int64_t pixels, int64_t channels) {
    const int64_t lanes = autometa::padded_channels(channels);
    Floats made(size(images * pixels * lanes), kNan);
    for (int64_t i = 0; i < images * pixels; ++i)
        for (int64_t c = 0; c < channels; ++c) made[size(i * lanes + c)] = random();
    return made;
}

// The channels of an activation, without its padding.
inline Floats channels_of(const Floats& x, int64_t channels) {
    const int64_t lanes = autometa::padded_channels(channels), pixels = static_cast<int64_t>(x.size()) / lanes;
    Floats found;
    for (int64_t i = 0; i < pixels; ++i)
        found.insert(found.end(), x.begin() + i * lanes, x.begin() + i * lanes + channels);
    return found;
}

// Piece number s of `count` equal ones.
template <class T>
std::vector<T> piece(const std::vector<T>& x, int64_t s, int64_t count) {
    const int64_t each = static_cast<int64_t>(x.size()) / count;
    return std::vector<T>(x.begin() + s * each, x.begin() + (s + 1) * each);
}

inline bool same_bits(const Floats& a, const Floats& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

inline bool all_finite(const Floats& x) {
    for (const float value : x)
        if (!std::isfinite(value)) return false;
    return true;
}

inline double dot(const Floats& a, const Floats& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
    return sum;
}

inline bool near(double a, double b, double tolerance) {
    return std::fabs(a - b) <= tolerance * std::fmax(1.0, std::fmax(std::fabs(a), std::fabs(b)));
}

// The slope of value() as x moves along a direction, a central difference; x is left as it was.
template <class Value>
double slope(Floats& x, const Floats& direction, const Value& value) {
    constexpr float kStep = 5e-4f;
    const Floats before = x;
    double found = 0;
    for (const float sign : {1.0f, -1.0f}) {
        for (size_t i = 0; i < x.size(); ++i) x[i] = before[i] + sign * kStep * direction[i];
        found += static_cast<double>(sign) * value();
    }
    x = before;
    return found / (2.0 * kStep);
}

// `act` must refuse with a sentence that holds `word`.
template <class Act>
void expect_refusal(const Act& act, const std::string& word) {
    try {
        act();
    } catch (const std::invalid_argument& error) {
        expect(std::string(error.what()).find(word) != std::string::npos, std::string("refusal: ") + error.what());
        return;
    }
    expect(false, "refusal because of " + word);
}

void test_threads();
void test_memory();
void test_arena();
void test_episodes();
void test_activations();
void test_head();
void test_mixed_op();
void test_preprocess();
void test_conv_block();
void test_conv_stack();
void test_cell_stack();
void test_cuda_arena();
void test_cuda_episodes();

}  // namespace autometa_test
