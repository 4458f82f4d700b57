#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "autometa.h"
#include "kernels.h"
#include "parallel.h"

namespace autometa {

namespace {

constexpr int64_t kAligned = 16;

int64_t aligned(int64_t size) { return (size + kAligned - 1) / kAligned * kAligned; }

int64_t features_of(const Activation& state, bool flatten) { return state.channels * (flatten ? state.pixels() : 1); }

// Where the features of each state stand among a slot's.
class Places {
public:
    Places(const std::vector<Activation>& states, const HeadShape& shape) : shape_(shape), states_(states.size()) {
        for (const Activation& state : states) {
            packed_.push_back(all_);
            all_ += features_of(state, shape.flatten);
        }
        for (int64_t t = 0; t < shape.tables; ++t) {
            int64_t width = 0;
            for (size_t j = 0; j < states_; ++j)
                if (row(t)[j] >= 0) width += features_of(states[j], shape.flatten);
            width_.push_back(width);
            check(states, row(t), width);
            if (width > 0 && aligned(width * shape.classes) + shape.classes > shape.row)
                throw std::invalid_argument("linear_head: too few parameters");
        }
        for (int64_t s = 0; s < shape.slots && shape.table_of_slot; ++s)
            if (shape.table_of_slot[s] < 0 || shape.table_of_slot[s] >= shape.tables)
                throw std::invalid_argument("linear_head: table_of_slot names a table that does not exist");
    }

    int64_t all() const { return all_; }
    int64_t width(int64_t slot) const { return shape_.tables ? width_[static_cast<size_t>(table(slot))] : all_; }
    // -1: the slot does not read the state.
    int64_t at(int64_t slot, size_t state) const { return shape_.tables ? row(table(slot))[state] : packed_[state]; }

private:
    // The states that are read must fill the slot's features.
    void check(const std::vector<Activation>& states, const int64_t* row, int64_t width) const {
        std::vector<bool> taken(static_cast<size_t>(width), false);
        for (size_t j = 0; j < states_; ++j)
            for (int64_t k = 0; row[j] >= 0 && k < features_of(states[j], shape_.flatten); ++k) {
                const int64_t f = row[j] < width ? row[j] + k : width;
                if (f >= width || taken[static_cast<size_t>(f)])
                    throw std::invalid_argument("linear_head: table puts state " + std::to_string(j) +
                                                " beyond the slot's features or over another");
                taken[static_cast<size_t>(f)] = true;
            }
    }
    int64_t table(int64_t slot) const { return shape_.table_of_slot ? shape_.table_of_slot[slot] : 0; }
    const int64_t* row(int64_t table) const { return shape_.table + table * static_cast<int64_t>(states_); }

    const HeadShape& shape_;
    size_t states_;
    int64_t all_ = 0;
    std::vector<int64_t> packed_, width_;
};

// Floats that an image's states hold, as a measure of its work.
int64_t floats_of(const std::vector<Activation>& states) {
    int64_t floats = 0;
    for (const Activation& state : states) floats += padded_channels(state.channels) * state.pixels();
    return floats;
}

void read_features(const Activation& state, int64_t image, bool flatten, const HeadKernels& run, float* features) {
    const int64_t lanes = padded_channels(state.channels), pixels = state.pixels();
    const float* x = state.image(image);
    if (flatten) {
        for (int64_t c = 0; c < state.channels; ++c)
            for (int64_t p = 0; p < pixels; ++p) *features++ = x[p * lanes + c];
        return;
    }
    std::vector<double> total(static_cast<size_t>(lanes));
    run.sum_pixels(total.data(), x, pixels, lanes);
    for (int64_t c = 0; c < state.channels; ++c)
        *features++ = static_cast<float>(total[static_cast<size_t>(c)] / static_cast<double>(pixels));
}

// The reverse of read_features for gradients; padding becomes 0.
void write_gradients(const Activation& grad, int64_t image, bool flatten, const double* features) {
    const int64_t lanes = padded_channels(grad.channels), pixels = grad.pixels();
    float* y = grad.image(image);
    if (flatten) {
        for (int64_t p = 0; p < pixels; ++p)
            for (int64_t c = 0; c < lanes; ++c)
                y[p * lanes + c] = c < grad.channels ? static_cast<float>(features[c * pixels + p]) : 0.0f;
        return;
    }
    std::vector<float> pixel(static_cast<size_t>(lanes), 0.0f);
    for (int64_t c = 0; c < grad.channels; ++c)
        pixel[static_cast<size_t>(c)] = static_cast<float>(features[c] / static_cast<double>(pixels));
    for (int64_t p = 0; p < pixels; ++p) std::copy(pixel.begin(), pixel.end(), y + p * lanes);
}

// One row of the weight's gradient, and its entry of the bias's; features stand `step` apart.
void weight_row(const float* grad, const float* features, int64_t batch, int64_t classes, int64_t width, int64_t step,
                const HeadKernels& run, float* row, float* bias) {
    std::vector<double> total(static_cast<size_t>(width), 0.0);
    double sum = 0.0;
    for (int64_t n = 0; n < batch; ++n) {
        const double factor = grad[n * classes];
        sum += factor;
        run.add_scaled(total.data(), features + n * step, factor, width);
    }
    for (int64_t f = 0; f < width; ++f) row[f] = static_cast<float>(total[static_cast<size_t>(f)]);
    *bias = static_cast<float>(sum);
}

}  // namespace

void linear_head(const std::vector<Activation>& states, const float* params, const HeadShape& shape, float* features,
                 float* logits, int threads) {
    const HeadKernels& run = kernels().head;
    const Places places(states, shape);
    const int64_t images = shape.slots * shape.batch;
    const int useful = useful_threads(images * (floats_of(states) + shape.classes * places.all()), threads);
    parallel_for(images, useful, [&](int64_t image) {
        const int64_t slot = image / shape.batch, width = places.width(slot);
        const float* weight = params + slot * shape.row;
        const float* bias = weight + aligned(shape.classes * width);
        float* row = features + image * places.all();
        for (size_t j = 0; j < states.size(); ++j)
            if (places.at(slot, j) >= 0)
                read_features(states[j], image, shape.flatten, run, row + places.at(slot, j));
        for (int64_t k = 0; k < shape.classes; ++k)
            logits[image * shape.classes + k] =
                static_cast<float>(run.dot(row, weight + k * width, width) + static_cast<double>(bias[k]));
    });
}

void linear_head_backward(const float* grad, const float* features, const float* params, const HeadShape& shape,
                          float* grad_params, int64_t grad_row, int64_t grad_width,
                          const std::vector<Activation>& grads, int threads) {
    const HeadKernels& run = kernels().head;
    const Places places(grads, shape);
    const int64_t images = shape.slots * shape.batch, classes = shape.classes, step = places.all();
    for (int64_t slot = 0; slot < shape.slots; ++slot) {
        float* row = grad_params + slot * grad_row;
        const int64_t weights = classes * places.width(slot), bias = aligned(weights);
        std::fill(row + weights, row + bias, 0.0f);
        std::fill(row + bias + classes, row + grad_width, 0.0f);
    }
    const int64_t products = images * classes * step;
    parallel_for(shape.slots * classes, useful_threads(products, threads), [&](int64_t item) {
        const int64_t slot = item / classes, k = item % classes, first = slot * shape.batch;
        const int64_t width = places.width(slot);
        float* row = grad_params + slot * grad_row;
        weight_row(grad + first * classes + k, features + first * step, shape.batch, classes, width, step, run,
                   row + k * width, row + aligned(classes * width) + k);
    });
    parallel_for(images, useful_threads(products + images * floats_of(grads), threads), [&](int64_t image) {
        const int64_t slot = image / shape.batch, width = places.width(slot);
        std::vector<double> total(static_cast<size_t>(width), 0.0);
        const float* weight = params + slot * shape.row;
        for (int64_t k = 0; k < classes; ++k)
            run.add_scaled(total.data(), weight + k * width, grad[image * classes + k], width);
        for (size_t j = 0; j < grads.size(); ++j) {
            const int64_t at = places.at(slot, j), floats = padded_channels(grads[j].channels) * grads[j].pixels();
            if (at < 0)
                std::fill_n(grads[j].image(image), floats, 0.0f);
            else
                write_gradients(grads[j], image, shape.flatten, total.data() + at);
        }
    });
}

}  // namespace autometa
