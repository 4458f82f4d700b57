#include <algorithm>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

namespace {

constexpr int64_t kAligned = 16;

int64_t aligned(int64_t size) { return (size + kAligned - 1) / kAligned * kAligned; }

int64_t features_of(const std::vector<Activation>& states, bool flatten) {
    int64_t features = 0;
    for (const Activation& state : states) features += state.channels * (flatten ? state.pixels() : 1);
    return features;
}

// Floats that an image's states hold, as a measure of its work.
int64_t floats_of(const std::vector<Activation>& states) {
    int64_t floats = 0;
    for (const Activation& state : states) floats += padded_channels(state.channels) * state.pixels();
    return floats;
}

void read_features(const std::vector<Activation>& states, int64_t image, bool flatten, const HeadKernels& run,
                   float* features) {
    for (const Activation& state : states) {
        const int64_t lanes = padded_channels(state.channels), pixels = state.pixels();
        const float* x = state.image(image);
        if (flatten) {
            for (int64_t c = 0; c < state.channels; ++c)
                for (int64_t p = 0; p < pixels; ++p) *features++ = x[p * lanes + c];
            continue;
        }
        std::vector<double> total(static_cast<size_t>(lanes));
        run.sum_pixels(total.data(), x, pixels, lanes);
        for (int64_t c = 0; c < state.channels; ++c)
            *features++ = static_cast<float>(total[static_cast<size_t>(c)] / static_cast<double>(pixels));
    }
}

// The reverse of read_features for gradients; padding becomes 0.
void write_gradients(const std::vector<Activation>& grads, int64_t image, bool flatten, const double* features) {
    for (const Activation& grad : grads) {
        const int64_t lanes = padded_channels(grad.channels), pixels = grad.pixels();
        float* y = grad.image(image);
        if (flatten) {
            for (int64_t p = 0; p < pixels; ++p)
                for (int64_t c = 0; c < lanes; ++c)
                    y[p * lanes + c] = c < grad.channels ? static_cast<float>(features[c * pixels + p]) : 0.0f;
            features += grad.channels * pixels;
            continue;
        }
        std::vector<float> pixel(static_cast<size_t>(lanes), 0.0f);
        for (int64_t c = 0; c < grad.channels; ++c)
            pixel[static_cast<size_t>(c)] = static_cast<float>(features[c] / static_cast<double>(pixels));
        for (int64_t p = 0; p < pixels; ++p) std::copy(pixel.begin(), pixel.end(), y + p * lanes);
        features += grad.channels;
    }
}

// One row of the weight's gradient, and its entry of the bias's.
void weight_row(const float* grad, const float* features, int64_t batch, int64_t classes, int64_t width,
                const HeadKernels& run, float* row, float* bias) {
    std::vector<double> total(static_cast<size_t>(width), 0.0);
    double sum = 0.0;
    for (int64_t n = 0; n < batch; ++n) {
        const double factor = grad[n * classes];
        sum += factor;
        run.add_scaled(total.data(), features + n * width, factor, width);
    }
    for (int64_t f = 0; f < width; ++f) row[f] = static_cast<float>(total[static_cast<size_t>(f)]);
    *bias = static_cast<float>(sum);
}

}  // namespace

void linear_head(const std::vector<Activation>& states, const float* params, const HeadShape& shape, float* features,
                 float* logits, int threads) {
    const HeadKernels& run = kernels().head;
    const int64_t width = features_of(states, shape.flatten), images = shape.slots * shape.batch;
    const int useful = useful_threads(images * (floats_of(states) + shape.classes * width), threads);
    parallel_for(images, useful, [&](int64_t image) {
        const float* weight = params + image / shape.batch * shape.row;
        const float* bias = weight + aligned(shape.classes * width);
        float* row = features + image * width;
        read_features(states, image, shape.flatten, run, row);
        for (int64_t k = 0; k < shape.classes; ++k)
            logits[image * shape.classes + k] =
                static_cast<float>(run.dot(row, weight + k * width, width) + static_cast<double>(bias[k]));
    });
}

void linear_head_backward(const float* grad, const float* features, const float* params, const HeadShape& shape,
                          float* grad_params, int64_t grad_row, int64_t grad_width,
                          const std::vector<Activation>& grads, int threads) {
    const HeadKernels& run = kernels().head;
    const int64_t width = features_of(grads, shape.flatten), images = shape.slots * shape.batch;
    const int64_t classes = shape.classes, bias = aligned(classes * width);
    for (int64_t slot = 0; slot < shape.slots; ++slot) {
        float* row = grad_params + slot * grad_row;
        std::fill(row + classes * width, row + bias, 0.0f);
        std::fill(row + bias + classes, row + grad_width, 0.0f);
    }
    const int64_t products = images * classes * width;
    parallel_for(shape.slots * classes, useful_threads(products, threads), [&](int64_t item) {
        const int64_t slot = item / classes, k = item % classes, first = slot * shape.batch;
        float* row = grad_params + slot * grad_row;
        weight_row(grad + first * classes + k, features + first * width, shape.batch, classes, width, run,
                   row + k * width, row + bias + k);
    });
    parallel_for(images, useful_threads(products + images * floats_of(grads), threads), [&](int64_t image) {
        std::vector<double> total(static_cast<size_t>(width), 0.0);
        const float* weight = params + image / shape.batch * shape.row;
        for (int64_t k = 0; k < classes; ++k)
            run.add_scaled(total.data(), weight + k * width, grad[image * classes + k], width);
        write_gradients(grads, image, shape.flatten, total.data());
    });
}

}  // namespace autometa
