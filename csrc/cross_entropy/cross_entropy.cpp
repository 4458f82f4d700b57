#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "autometa.h"
#include "parallel.h"

namespace autometa {

namespace {

constexpr int64_t kCostOfExp = 16;

void check(const int64_t* labels, const LogitShape& shape) {
    for (int64_t i = 0; i < shape.slots * shape.batch; ++i)
        if (labels[i] < 0 || labels[i] >= shape.classes)
            throw std::invalid_argument("labels must lie in 0.." + std::to_string(shape.classes - 1) + ", one is " +
                                        std::to_string(labels[i]));
}

int threads_for(const LogitShape& shape, int threads) {
    return useful_threads(shape.slots * shape.batch * shape.classes * kCostOfExp, threads);
}

struct Softmax {
    double largest, sum;  // the sum of exp(x - largest)
};

Softmax softmax(const float* x, int64_t classes) {
    Softmax found = {*std::max_element(x, x + classes), 0.0};
    for (int64_t k = 0; k < classes; ++k) found.sum += std::exp(static_cast<double>(x[k]) - found.largest);
    return found;
}

}  // namespace

void cross_entropy(const float* logits, const int64_t* labels, const LogitShape& shape, float* losses, int threads) {
    check(labels, shape);
    parallel_for(shape.slots, threads_for(shape, threads), [&](int64_t slot) {
        double total = 0.0;
        for (int64_t image = slot * shape.batch; image < (slot + 1) * shape.batch; ++image) {
            const float* x = logits + image * shape.classes;
            const Softmax found = softmax(x, shape.classes);
            total += found.largest - static_cast<double>(x[labels[image]]) + std::log(found.sum);
        }
        losses[slot] = static_cast<float>(total / static_cast<double>(shape.batch));
    });
}

void cross_entropy_backward(const float* grad, const float* logits, const int64_t* labels, const LogitShape& shape,
                            float* grad_logits, int threads) {
    check(labels, shape);
    parallel_for(shape.slots, threads_for(shape, threads), [&](int64_t slot) {
        const double factor = static_cast<double>(grad[slot]) / static_cast<double>(shape.batch);
        for (int64_t image = slot * shape.batch; image < (slot + 1) * shape.batch; ++image) {
            const float* x = logits + image * shape.classes;
            const Softmax found = softmax(x, shape.classes);
            for (int64_t k = 0; k < shape.classes; ++k) {
                const double share = std::exp(static_cast<double>(x[k]) - found.largest) / found.sum;
                grad_logits[image * shape.classes + k] =
                    static_cast<float>(factor * (share - (k == labels[image] ? 1.0 : 0.0)));
            }
        }
    });
}

}  // namespace autometa
