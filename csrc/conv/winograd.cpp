#include "winograd.h"

#include <algorithm>
#include <cstring>

#include "kernels.h"

namespace autometa {

namespace {

// Tiles of a band: enough to fill the products' registers, few enough for their transforms to stay near.
constexpr int64_t kBandTiles = 168;
// Fewer channels, shorter rows or smaller maps make too little of what the transforms cost (measured: 16 channels of
// 8x8 and 32 of 6x6 gain, 16 of 7x7 and 32 of 5x5 lose).
constexpr int64_t kChannels = 16, kWidth = 6, kFloats = 1024;

void clear(float* at, int64_t count) { std::memset(at, 0, static_cast<size_t>(count) * sizeof(float)); }

// Transforms between the tiles of a row, which begin at column `first`, and the planes of their points. What lies outside
// of the row is read from, or written to, `outside`.
void transform_row(Transform::Kind kind, bool add, const float* row, int64_t width, int64_t first, int64_t tiles,
                   int64_t lanes, float* planes, int64_t plane, float* outside) {
    constexpr int64_t tile = Winograd::kTile, points = Winograd::kPoints;
    const int64_t columns = kind == Transform::kInput ? points : tile;
    const bool gathers = kind == Transform::kOutput;
    Transform t{};
    t.kind = kind, t.lanes = lanes, t.add = add;
    t.in_step = gathers ? lanes : tile * lanes;
    t.out_step = gathers ? tile * lanes : lanes;
    for (int64_t i = 0; i < tiles; i += t.count) {
        const int64_t column = i * tile + first;
        const bool inside = column >= 0 && column + columns <= width;
        t.count = inside ? std::min(tiles - i, (width - columns - column) / tile + 1) : 1;
        for (int64_t k = 0; k < columns; ++k) {
            const int64_t at = column + k;
            float* pixel = at >= 0 && at < width ? const_cast<float*>(row) + at * lanes : outside;
            (gathers ? t.out[k] : const_cast<float*&>(t.in[k])) = pixel;
        }
        for (int64_t p = 0; p < points; ++p)
            (gathers ? const_cast<float*&>(t.in[p]) : t.out[p]) = planes + p * plane + i * lanes;
        kernels().conv.transform(t);
    }
}

}  // namespace

bool Winograd::gains(int64_t channels, int64_t height, int64_t width) {
    return channels >= kChannels && width >= kWidth && channels * height * width >= kFloats;
}

Winograd::Winograd(int64_t height, int64_t width, int64_t in_lanes, int64_t out_lanes, int64_t top, int64_t left)
    : height_(height),
      in_lanes_(in_lanes),
      out_lanes_(out_lanes),
      top_(top),
      left_(left),
      tiles_((width + kTile - 1) / kTile) {
    const int64_t bands = std::max<int64_t>(1, height * tiles_ / kBandTiles);
    band_ = (height + bands - 1) / bands;
}

int64_t Winograd::floats() const {
    return kPoints * (plane(band_ + kRows - 1, in_lanes_) + plane(band_, out_lanes_)) + std::max(in_lanes_, out_lanes_);
}

void Winograd::transform_weights(float* parts, int64_t size) {
    Transform t{};
    t.kind = Transform::kWeight, t.count = 1, t.lanes = size;
    for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t k = 0; k < kRows; ++k) t.in[k] = taps(parts, size) + (r * kRows + k) * size;
        for (int64_t p = 0; p < kPoints; ++p) t.out[p] = parts + (r * kPoints + p) * size;
        kernels().conv.transform(t);
    }
}

void Winograd::weight_gradient(const float* parts, int64_t size, float* taps) {
    Transform t{};
    t.kind = Transform::kWeightGradient, t.count = 1, t.lanes = size;
    for (int64_t r = 0; r < kRows; ++r) {
        for (int64_t p = 0; p < kPoints; ++p) t.in[p] = parts + (r * kPoints + p) * size;
        for (int64_t k = 0; k < kRows; ++k) t.out[k] = taps + (r * kRows + k) * size;
        kernels().conv.transform(t);
    }
}

void Winograd::spread(Transform::Kind kind, const Plane& from, int64_t first, int64_t rows, int64_t left,
                      float* to, float* zeros) const {
    const int64_t row = tiles_ * from.lanes;
    for (int64_t r = 0; r < rows; ++r) {
        if (first + r >= -from.pad_h && first + r < from.height + from.pad_h) {
            transform_row(kind, false, from.at(first + r, -from.pad_w), from.width + 2 * from.pad_w, from.pad_w - left,
                          tiles_, from.lanes, to + r * row, rows * row, zeros);
            continue;
        }
        for (int64_t p = 0; p < kPoints; ++p) clear(to + (p * rows + r) * row, row);
    }
}

void Winograd::convolve(const Plane& in, int64_t depth, const float* parts, const Plane& out, bool add,
                        float* memory) const {
    const int64_t row = tiles_ * in_lanes_, part = depth * out_lanes_;
    float *zeros = memory, *spread_in = memory + std::max(in_lanes_, out_lanes_);
    float* products = spread_in + kPoints * plane(band_ + kRows - 1, in_lanes_);
    for (int64_t r = 0; r < height_; r += band_) {
        const int64_t rows = std::min(band_, height_ - r);
        clear(zeros, std::max(in_lanes_, out_lanes_));
        spread(Transform::kInput, in, r - top_, rows + kRows - 1, left_, spread_in, zeros);
        for (int64_t p = 0; p < kPoints; ++p) {
            const float *from[kRows], *weight[kRows];
            for (int64_t k = 0; k < kRows; ++k) {
                from[k] = spread_in + p * plane(rows + kRows - 1, in_lanes_) + k * row;
                weight[k] = parts + (k * kPoints + p) * part;
            }
            kernels().conv.tap_gemm({from, weight, kRows, depth, in_lanes_, row, products + p * plane(rows, out_lanes_),
                                     out_lanes_, tiles_ * out_lanes_, rows, tiles_, out_lanes_, false});
        }
        float* outside = zeros;  // they are made anew for every band
        for (int64_t i = 0; i < rows; ++i)
            transform_row(Transform::kOutput, add, out.at(r + i, 0), out.width, 0, tiles_, out_lanes_,
                          products + plane(i, out_lanes_), plane(rows, out_lanes_), outside);
    }
}

void Winograd::outer(const Plane& in, int64_t depth, const Plane& grad, float* parts, float* memory) const {
    const int64_t row = tiles_ * in_lanes_, part = depth * out_lanes_;
    float *zeros = memory, *spread_in = memory + std::max(in_lanes_, out_lanes_);
    float* spread_grad = spread_in + kPoints * plane(band_ + kRows - 1, in_lanes_);
    clear(zeros, std::max(in_lanes_, out_lanes_));
    for (int64_t r = 0; r < height_; r += band_) {
        const int64_t rows = std::min(band_, height_ - r);
        spread(Transform::kInput, in, r - top_, rows + kRows - 1, left_, spread_in, zeros);
        spread(Transform::kGradient, grad, r, rows, 0, spread_grad, zeros);
        for (int64_t p = 0; p < kPoints; ++p)
            for (int64_t k = 0; k < kRows; ++k)
                kernels().conv.tap_outer({spread_in + p * plane(rows + kRows - 1, in_lanes_) + k * row, depth, in_lanes_,
                                          row, spread_grad + p * plane(rows, out_lanes_), out_lanes_,
                                          tiles_ * out_lanes_, rows, tiles_, out_lanes_,
                                          parts + (k * kPoints + p) * part});
    }
}

}  // namespace autometa
