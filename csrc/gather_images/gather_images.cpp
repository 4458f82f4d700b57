#include "formula.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

namespace {

// to = from turned counter-clockwise; both [height, width], square for odd numbers of quarters.
template <int quarters>
void turn(const uint8_t* from, uint8_t* to, int64_t height, int64_t width) {
    for (int64_t y = 0; y < height; ++y)
        for (int64_t x = 0; x < width; ++x) to[y * width + x] = from[turned(y, x, height, width, quarters)];
}

constexpr void (*kTurns[])(const uint8_t*, uint8_t*, int64_t, int64_t) = {turn<0>, turn<1>, turn<2>, turn<3>};

void check(ImageShape shape, const int64_t* index, const int64_t* rotation, int64_t picks) {
    for (int64_t i = 0; i < picks; ++i) {
        if (index[i] < 0 || index[i] >= shape.count)
            throw std::invalid_argument("index must lie in 0.." + std::to_string(shape.count - 1));
        if (rotation[i] % 2 != 0 && shape.height != shape.width)
            throw std::invalid_argument("a quarter turn needs square images, these are " +
                                        std::to_string(shape.height) + " x " + std::to_string(shape.width));
    }
}

}  // namespace

void gather_images(const uint8_t* images, ImageShape shape, const int64_t* index, const int64_t* rotation,
                   int64_t picks, const float* scale, const float* shift, float* out, int threads) {
    check(shape, index, rotation, picks);
    const int64_t plane = shape.height * shape.width, size = shape.channels * plane;
    const auto run = kernels().scale_bytes;
    parallel_for(picks, useful_threads(picks * size, threads), [&](int64_t pick) {
        static thread_local std::vector<uint8_t> buffer;
        const int quarters = quarters_of(rotation[pick]);
        if (quarters != 0 && static_cast<int64_t>(buffer.size()) < plane) buffer.resize(static_cast<size_t>(plane));
        for (int64_t channel = 0; channel < shape.channels; ++channel) {
            const uint8_t* from = images + index[pick] * size + channel * plane;
            if (quarters != 0) {
                kTurns[quarters](from, buffer.data(), shape.height, shape.width);
                from = buffer.data();
            }
            run(from, out + pick * size + channel * plane, plane, scale[channel], shift[channel]);
        }
    });
}

}  // namespace autometa
