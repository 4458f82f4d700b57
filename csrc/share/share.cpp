#include <algorithm>
#include <vector>

#include "activation.h"
#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

void sum_activations(const std::vector<const float*>& x, float* out, int64_t images, const Activation& shape,
                     int threads) {
    const int64_t lanes = padded_channels(shape.channels), pixels = shape.pixels();
    const std::vector<float> zeros(static_cast<size_t>(lanes), 0.0f), ones(static_cast<size_t>(lanes), 1.0f);
    parallel_for(images, useful_threads(images * pixels * lanes, threads), [&](int64_t n) {
        std::vector<Map> maps;
        for (const float* part : x) maps.push_back({part + n * pixels * lanes, nullptr, ones.data()});
        kernels().conv.combine(maps.data(), static_cast<int64_t>(maps.size()), zeros.data(), out + n * pixels * lanes,
                               pixels, lanes);
    });
}

}  // namespace autometa
