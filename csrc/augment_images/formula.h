// How an image is changed at random, shared by the C++ core and the CUDA kernel. Quotients, products and sums alone, in
// a fixed order, so that both give the same bits.
#pragma once

#include "arena.h"
#include "philox.h"

#ifdef __CUDACC__
#define AUTOMETA_ROLLED _Pragma("unroll 1")  // a loop whose turns, side by side, would not fit the registers
#else
#define AUTOMETA_ROLLED
#endif

namespace autometa {

// Draws of a task, then of each of its images: so many numbers, and one for every value where there is noise.
constexpr int64_t kAugmentDraws = 16;

// What is done to one image.
struct Augmentation {
    float xx, xy, yx, yy;  // from a pixel's place, seen from the centre, to where it is read
    float x, y;            // the centre, and where the picture was shifted
    float thickness, blur, contrast, level, noise;
    bool invert;
};

// -1 .. 1, below 1.
AUTOMETA_FORMULA double signed_unit(uint32_t word) { return static_cast<double>(word) * (1.0 / 2147483648.0) - 1.0; }

// 0 .. 1, below 1.
AUTOMETA_FORMULA double unit(uint32_t word) { return static_cast<double>(word) * (1.0 / 4294967296.0); }

// The first of the draws of an image of a task.
AUTOMETA_FORMULA uint64_t first_draw(AugmentShape shape, int64_t place) {
    const int64_t values = (shape.channels * shape.height * shape.width + 3) / 4 * 4;
    return static_cast<uint64_t>(kAugmentDraws + place * (kAugmentDraws + values));
}

AUTOMETA_FORMULA Augmentation augmentation(Draws& draws, AugmentShape shape, const AugmentRanges& most,
                                           uint64_t first) {
    const bool task_inverted = unit(draws(0)) < most.invert;
    const double shift_x = most.shift * signed_unit(draws(first)), shift_y = most.shift * signed_unit(draws(first + 1));
    const double scale_x = 1.0 + most.scale * signed_unit(draws(first + 2));
    const double scale_y = 1.0 + most.scale * signed_unit(draws(first + 3));
    const double half = most.half_turn * signed_unit(draws(first + 4)), square = half * half;
    const double cosine = (1.0 - square) / (1.0 + square), sine = 2.0 * half / (1.0 + square);
    const double shear = most.shear * signed_unit(draws(first + 5));
    Augmentation made;
    made.xx = static_cast<float>(cosine * scale_x);
    made.xy = static_cast<float>(cosine * shear - sine * scale_y);
    made.yx = static_cast<float>(sine * scale_x);
    made.yy = static_cast<float>(sine * shear + cosine * scale_y);
    made.x = static_cast<float>(0.5 * static_cast<double>(shape.width - 1) +
                                shift_x * static_cast<double>(shape.width));
    made.y = static_cast<float>(0.5 * static_cast<double>(shape.height - 1) +
                                shift_y * static_cast<double>(shape.height));
    made.thickness = static_cast<float>(most.thickness * signed_unit(draws(first + 6)));
    made.blur = static_cast<float>(most.blur * unit(draws(first + 7)));
    made.contrast = static_cast<float>(1.0 + most.contrast * signed_unit(draws(first + 8)));
    made.level = static_cast<float>(0.5 + most.brightness * signed_unit(draws(first + 9)));
    made.noise = static_cast<float>(most.noise * unit(draws(first + 10)));
    made.invert = task_inverted;
    return made;
}

// Of a plane; counted in 32 bits, so that a device holds fewer registers.
struct Extent {
    int32_t height, width;
};

AUTOMETA_FORMULA Extent extent_of(AugmentShape shape) {
    return {static_cast<int32_t>(shape.height), static_cast<int32_t>(shape.width)};
}

// x, or the nearest of 0 .. size - 1.
AUTOMETA_FORMULA int32_t inside(int32_t x, int32_t size) { return x < 0 ? 0 : (x < size ? x : size - 1); }

// A plane read between its pixels; beyond its border what stands at the border.
AUTOMETA_FORMULA float warped(const float* plane, Extent extent, const Augmentation& how, int32_t row,
                              int32_t column) {
    const float dx = static_cast<float>(column) - 0.5f * static_cast<float>(extent.width - 1);
    const float dy = static_cast<float>(row) - 0.5f * static_cast<float>(extent.height - 1);
    const float right = static_cast<float>(extent.width - 1), bottom = static_cast<float>(extent.height - 1);
    float x = how.xx * dx + how.xy * dy + how.x, y = how.yx * dx + how.yy * dy + how.y;
    x = x > 0.0f ? (x < right ? x : right) : 0.0f;
    y = y > 0.0f ? (y < bottom ? y : bottom) : 0.0f;
    const int32_t x0 = static_cast<int32_t>(x), y0 = static_cast<int32_t>(y);
    const int32_t x1 = inside(x0 + 1, extent.width), y1 = inside(y0 + 1, extent.height);
    const float u = x - static_cast<float>(x0), v = y - static_cast<float>(y0);
    const float *upper = plane + y0 * extent.width, *lower = plane + y1 * extent.width;
    return (upper[x0] * (1.0f - u) + upper[x1] * u) * (1.0f - v) + (lower[x0] * (1.0f - u) + lower[x1] * u) * v;
}

// The brightest, or darkest, of 3 x 3 pixels is approached by a share; read(row, column) is the plane before.
template <class Read>
AUTOMETA_FORMULA float thickened(const Read& read, Extent extent, float share, int32_t row, int32_t column) {
    const float own = read(row, column);
    float found = own;
    AUTOMETA_ROLLED
    for (int32_t y = inside(row - 1, extent.height); y <= inside(row + 1, extent.height); ++y)
        AUTOMETA_ROLLED
        for (int32_t x = inside(column - 1, extent.width); x <= inside(column + 1, extent.width); ++x) {
            const float other = read(y, x);
            if (share > 0.0f ? other > found : other < found) found = other;
        }
    return own + (share > 0.0f ? share : -share) * (found - own);
}

// The mean of 3 x 3 pixels is approached by a share.
template <class Read>
AUTOMETA_FORMULA float blurred(const Read& read, Extent extent, float share, int32_t row, int32_t column) {
    float sum = 0.0f;
    AUTOMETA_ROLLED
    for (int32_t y = row - 1; y <= row + 1; ++y)
        AUTOMETA_ROLLED
        for (int32_t x = column - 1; x <= column + 1; ++x)
            sum += read(inside(y, extent.height), inside(x, extent.width));
    const float own = read(row, column);
    return own + share * (sum * (1.0f / 9.0f) - own);
}

// Mean 0 and variance 1 of the four bytes of a random number, near enough a normal distribution.
AUTOMETA_FORMULA float bell(uint32_t word) {
    const uint32_t sum = (word & 255) + (word >> 8 & 255) + (word >> 16 & 255) + (word >> 24);
    return (static_cast<float>(sum) - 510.0f) * 0.006765837f;
}

// Contrast, brightness, noise and polarity of a value; random: the number of its noise.
AUTOMETA_FORMULA float toned(float value, const Augmentation& how, const AugmentRanges& most, uint32_t random) {
    if (most.contrast != 0.0 || most.brightness != 0.0) value = (value - 0.5f) * how.contrast + how.level;
    if (most.noise != 0.0) value = value + how.noise * bell(random);
    value = value > 0.0f ? (value < 1.0f ? value : 1.0f) : 0.0f;
    return how.invert ? 1.0f - value : value;
}

}  // namespace autometa
