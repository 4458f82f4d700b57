#include "batch_norm.h"

#include <cmath>
#include <cstring>

#include "kernels.h"

namespace autometa {

void begin_moments(const float* pixel, int64_t lanes, float* partial) {
    std::memcpy(partial, pixel, static_cast<size_t>(lanes) * sizeof(float));
    std::memset(partial + lanes, 0, static_cast<size_t>(2 * lanes) * sizeof(float));
}

void image_moments(const float* x, int64_t pixels, int64_t lanes, float* partial) {
    begin_moments(x, lanes, partial);
    add_moments(x, pixels, lanes, partial);
}

void add_moments(const float* x, int64_t pixels, int64_t lanes, float* partial) {
    kernels().conv.moments(x, partial, partial + lanes, partial + 2 * lanes, pixels, lanes);
}

void merge_moments(const float* partial, int64_t distance, int64_t images, int64_t pixels, int64_t channels,
                   int64_t lanes, float* mean, float* variance) {
    const double count = static_cast<double>(pixels);
    for (int64_t c = 0; c < lanes; ++c) {
        double centre = 0, spread = 0;
        for (int64_t n = 0; n < images && c < channels; ++n) {
            const float* sums = partial + n * distance + c;
            const double sum = sums[lanes], own = sums[0] + sum / count;
            const double before = static_cast<double>(n) * count, gap = own - centre;
            centre += gap / static_cast<double>(n + 1);
            spread += sums[2 * lanes] - sum * sum / count + gap * gap * before * count / (before + count);
        }
        mean[c] = static_cast<float>(centre);
        const double biased = spread / (static_cast<double>(images) * count);
        variance[c] = static_cast<float>(biased < 0 ? 0 : biased);
    }
}

void Normalisation::forward(double scale, float* a, float* b) const {
    for (int64_t c = 0; c < lanes; ++c) {
        if (c >= channels) {
            a[c] = b[c] = 0;
            continue;
        }
        const double factor = scale * (gamma ? gamma[c] : 1.0) / std::sqrt(static_cast<double>(variance[c]) + eps);
        a[c] = static_cast<float>(factor);
        b[c] = static_cast<float>(scale * (beta ? beta[c] : 0.0));
    }
}

bool Normalisation::invertible() const {
    constexpr double kLargest = 16, kSmallest = 1e-30;  // of |beta / gamma|: digits of y that beta takes; of a
    for (int64_t c = 0; c < channels; ++c) {
        const double own = std::fabs(gamma ? gamma[c] : 1.0);
        const bool tells = std::fabs(beta ? beta[c] : 0.0) <= kLargest * own &&
                           own / std::sqrt(static_cast<double>(variance[c]) + eps) >= kSmallest;
        if (!tells) return false;  // neither does what is not a number
    }
    return true;
}

double Normalisation::backward(double scale, const Sums& sums, float* a, float* b, float* c, float* dgamma,
                               float* dbeta) const {
    double dscale = 0;
    for (int64_t i = 0; i < lanes; ++i) {
        if (i >= channels) {
            a[i] = b[i] = c[i] = 0;
            continue;
        }
        const double rstd = 1.0 / std::sqrt(static_cast<double>(variance[i]) + eps);
        const double own = gamma ? gamma[i] : 1.0, factor = scale * own * rstd, normalised = rstd * sums.product[i];
        dscale += own * normalised + (beta ? beta[i] : 0.0) * sums.g[i];
        if (dgamma) dgamma[i] += static_cast<float>(scale * normalised);
        if (dbeta) dbeta[i] += static_cast<float>(scale * sums.g[i]);
        const double count = static_cast<double>(sums.count);
        const double slope = sums.given ? 0.0 : -factor * normalised * rstd / count;
        a[i] = static_cast<float>(factor);
        b[i] = static_cast<float>(slope);
        c[i] = static_cast<float>(sums.given ? 0.0 : sums.g[i] / count);
    }
    return dscale;
}

}  // namespace autometa
