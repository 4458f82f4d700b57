// Inner loops of the convolutional ops on one image that the level-2 cache holds: nanoseconds per 16 floats.
// cmake -DAUTOMETA_BENCHMARK=ON .. && cmake --build . --target autometa_kernels && ./autometa_kernels [size]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "../csrc/conv/planes.h"
#include "../csrc/conv/winograd.h"
#include "kernels.h"
#include "memory.h"

using namespace autometa;

namespace {

constexpr int64_t kChannels = 28, kLanes = 32;

// Aligned like the memory of the ops.
class Floats {
public:
    explicit Floats(int64_t count) : block_(count * static_cast<int64_t>(sizeof(float))) {
        static std::mt19937 generator(0);
        std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
        for (int64_t i = 0; i < count; ++i) data()[i] = uniform(generator);
    }
    float* data() const { return block_.floats(); }

private:
    Block block_;
};

template <class Body>
void report(const char* name, int64_t vectors, double flops, const Body& body) {
    using Clock = std::chrono::steady_clock;
    constexpr int kRounds = 9, kCalls = 50;
    double best = 1e9;
    body();
    for (int round = 0; round < kRounds; ++round) {
        const auto begin = Clock::now();
        for (int i = 0; i < kCalls; ++i) body();
        best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - begin).count() / kCalls);
    }
    std::printf("%-20s %6.2f ns", name, best / static_cast<double>(vectors));
    if (flops > 0) std::printf("  %6.1f GFLOP/s", flops / best);
    std::printf("\n");
}

Conv convolution(int64_t kh, int64_t kw, bool depthwise) {
    Conv conv;
    conv.taps = window(kh, kw, 1, 1, kh / 2, kw / 2);
    conv.outs = kChannels;
    conv.depth = depthwise ? 0 : kChannels;
    return conv;
}

// Full convolutions 3x3 with all lanes in use, as sums and as Winograd's F(4, 3): GFLOP/s count the sums' arithmetic.
void three_by_three(int64_t size) {
    const int64_t floats = (size + 4) * (size + 4) * kLanes, vectors = size * size * kLanes / 16;
    const Floats x(floats), y(floats), weight(18 * kLanes * kLanes), sums(18 * kLanes * kLanes);
    const Plane in = Plane{nullptr, size, size, 1, 1, kLanes}.over(x.data());
    const Plane plain = Plane{nullptr, size, size, 0, 0, kLanes}.over(x.data());
    const Plane out = Plane{nullptr, size, size, 0, 0, kLanes}.over(y.data());
    Conv conv = convolution(3, 3, false);
    conv.outs = conv.depth = kLanes;
    const Winograd winograd(size, size, kLanes, kLanes, 1, 1);
    const Floats memory(winograd.floats());
    const double macs = 2.0 * static_cast<double>(9 * size * size * kLanes * kLanes);
    report("3x3", vectors, macs, [&] { conv.forward(in, weight.data(), out); });
    report("3x3, F(4, 3)", vectors, macs,
           [&] { winograd.convolve(plain, kLanes, weight.data(), out, false, memory.data()); });
    report("3x3, weights", vectors, macs, [&] {
        for (int64_t k = 0; k < 3; ++k)
            kernels().conv.tap_outer({in.at(k - 1, -1), 3 * kLanes, kLanes, in.row(), out.base, kLanes, out.row(), size,
                                      size, kLanes, sums.data() + k * 3 * kLanes * kLanes});
    });
    report("3x3, weights, F(4, 3)", vectors, macs,
           [&] { winograd.outer(plain, kLanes, out, sums.data(), memory.data()); });
}

}  // namespace

int main(int count, char** words) {
    const int64_t size = count > 1 ? std::atoll(words[1]) : 28, pixels = size * size, vectors = pixels * kLanes / 16;
    const int64_t floats = (size + 8) * (size + 8) * kLanes;
    const Floats x(floats), y(floats), z(floats), g(floats), padded(floats), buffer(3 * floats);
    const Floats weight(9 * kLanes * kLanes), lanes(8 * kLanes), sums(9 * kLanes * kLanes);
    const Plane border = Plane{nullptr, size, size, 2, 2, kLanes}.over(padded.data());
    const Plane gradient = Plane{nullptr, size, size, 2, 2, kLanes}.over(buffer.data());
    const Plane out = Plane{nullptr, size, size, 0, 0, kLanes}.over(y.data());
    const Plane other = Plane{nullptr, size, size, 0, 0, kLanes}.over(z.data());
    const Conv window3 = convolution(3, 3, true), point = convolution(1, 1, false), wide = convolution(1, 5, false);
    const ConvKernels& kernel = kernels().conv;
    const Pool pool{x.data(), size, size, 1, kLanes, buffer.data()};
    const float *w = weight.data(), *a = lanes.data();
    const double macs = 2.0 * static_cast<double>(pixels * kChannels * kChannels);
    std::printf("%s, %lld x %lld, %lld channels\n", kernels().name, static_cast<long long>(size),
                static_cast<long long>(size), static_cast<long long>(kChannels));
    report("1x5", vectors, 5 * macs, [&] { wide.forward(border, w, out); });
    report("1x5, weights", vectors, 5 * macs, [&] { wide.backward_weight(border, out, 0, sums.data()); });
    report("pointwise", vectors, macs, [&] { point.forward(other, w, out); });
    report("pointwise, input", vectors, macs, [&] { point.backward_data(other, w, w, 0, out, true); });
    report("pointwise, weights", vectors, macs, [&] { point.backward_weight(other, out, 0, sums.data()); });
    report("depthwise", vectors, 0, [&] { window3.forward(border, w, out); });
    report("depthwise, input", vectors, 0, [&] { window3.backward_data(gradient, w, nullptr, 0, out, true); });
    report("depthwise, weights", vectors, 0, [&] { window3.backward_weight(border, out, 0, sums.data()); });
    report("relu with border", vectors, 0, [&] { fill_relu(x.data(), nullptr, border); });
    const Map maps[5] = {{x.data(), a, a}, {y.data(), a, a}, {z.data(), a, a}, {g.data(), a, a}, {x.data(), a, a}};
    report("combine 5 maps", vectors, 0, [&] { kernel.combine(maps, 5, a, out.base, pixels, kLanes); });
    report("gradient of BN", vectors, 0, [&] { fill_gradient(maps[3], maps[2], a, gradient); });
    report("moments", vectors, 0, [&] { kernel.moments(z.data(), a, sums.data(), sums.data() + kLanes, pixels, kLanes); });
    report("products", vectors, 0,
           [&] { kernel.products(g.data(), z.data(), a, nullptr, sums.data(), pixels, kLanes); });
    report("max pool", vectors, 0, [&] { kernel.max_pool(pool, out.base); });
    report("avg pool", vectors, 0, [&] { kernel.avg_pool(pool, out.base); });
    report("max pool, backward", vectors, 0, [&] { kernel.max_pool_backward(pool, g.data(), other.base); });
    report("avg pool, backward", vectors, 0, [&] { kernel.avg_pool_backward(pool, g.data(), other.base); });
    three_by_three(size);
    return 0;
}
