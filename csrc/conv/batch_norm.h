// Batch normalisation around the passes over feature maps: sums of images merged in order, coefficients by lane.
#pragma once

#include <cstdint>

namespace autometa {

// Sums of one image: pivot, sum of x - pivot, sum of its square, by lane.
constexpr int64_t kMoments = 3;
void image_moments(const float* x, int64_t pixels, int64_t lanes, float* partial);
// The same piece by piece: begin with the image's first pixel, then add.
void begin_moments(const float* pixel, int64_t lanes, float* partial);
void add_moments(const float* x, int64_t pixels, int64_t lanes, float* partial);

// Mean and biased variance over `images` images whose sums stand `distance` floats apart (Chan et al. 1979).
void merge_moments(const float* partial, int64_t distance, int64_t images, int64_t pixels, int64_t channels,
                   int64_t lanes, float* mean, float* variance);

// What a normalisation multiplies and adds; gamma, beta may be null (1 and 0).
struct Normalisation {
    const float *mean, *variance, *gamma, *beta;
    double eps;
    int64_t channels, lanes;

    // y = a * (x - mean) + b with y = scale * (gamma * normalised(x) + beta); lanes beyond the channels get 0.
    void forward(double scale, float* a, float* b) const;

    // Whether y tells x: x - mean = (y - b) / a keeps its digits in every channel.
    bool invertible() const;

    // The sums of g and of g * (x - mean) over the batch.
    struct Sums {
        const double *g, *product;
        int64_t count;  // of pixels in the batch
        bool given;     // statistics were given: they carry no gradient
    };
    // dx = a * (g - c) + b * (x - mean), and the gradients of gamma, beta (added, may be null) and scale.
    double backward(double scale, const Sums& sums, float* a, float* b, float* c, float* dgamma, float* dbeta) const;
};

}  // namespace autometa
