// Forward of the conv block: products with sums of z beside them, then normalisation, pool and ReLU in one pass.
#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "plan.h"

namespace autometa {
namespace block {

namespace {

class Forward {
public:
    Forward(const ConvBlock& block, const Plan& plan, float* y, float* saved, float* statistics, const Team& team)
        : block_(block),
          plan_(plan),
          y_(y),
          saved_(saved),
          statistics_(statistics),
          step_(plan.work + (saved ? 0 : plan.kept)),
          work_(step_ * team.wave * static_cast<int64_t>(sizeof(float))),
          scratch_(plan.scratch, team.threads),
          threads_(team.threads) {}

    void run(int64_t first, int64_t count) {
        first_ = first;
        const auto slots = [&](auto body) {
            parallel_for(count, threads_, [&](int64_t i) { body(first + i); });
        };
        const auto chunks = [&](auto body) {
            parallel_for(count * plan_.chunks, threads_, [&](int64_t i) {
                body(first + i / plan_.chunks, chunk(block_.batch, plan_.chunks, i % plan_.chunks));
            });
        };
        slots([&](int64_t slot) { prepare(slot); });
        chunks([&](int64_t slot, Range images) { convolve(slot, images); });
        if (measures()) slots([&](int64_t slot) { measure(slot); });
        if (!known()) chunks([&](int64_t slot, Range images) { finish(slot, images); });
    }

private:
    // Whether the coefficients are known before the convolution.
    bool known() const { return !block_.norm || block_.given; }
    bool measures() const { return block_.norm && (!block_.given || statistics_); }
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * step_; }
    float* kept(int64_t slot) const { return saved_ ? saved_ + slot * plan_.kept : work(slot) + plan_.work; }
    const float* params(int64_t slot) const { return block_.params + slot * block_.params_row; }
    float bias(int64_t slot, int64_t c) const { return block_.bias ? params(slot)[plan_.bias + c] : 0.0f; }
    float* z(int64_t slot, int64_t n) const {
        if (plan_.in_y) return y_ + (slot * block_.batch + n) * plan_.pixels * plan_.lanes;
        return kept(slot) + plan_.z + n * plan_.pixels * plan_.lanes;
    }

    // Weights in order, and given statistics as those of the convolution without its bias.
    void prepare(int64_t slot) {
        plan_.pack(params(slot), work(slot) + plan_.packed);
        float *mean = kept(slot) + plan_.mean, *variance = mean + plan_.lanes;
        std::memset(mean, 0, static_cast<size_t>(2 * plan_.lanes) * sizeof(float));
        gate_coefficients(block_, plan_, slot, work(slot) + plan_.gate);
        if (!known()) return;
        for (int64_t c = 0; c < block_.c_out && block_.norm; ++c) {
            mean[c] = block_.given[slot * 2 * block_.c_out + c] - bias(slot, c);
            variance[c] = block_.given[(slot * 2 + 1) * block_.c_out + c];
        }
        set_coefficients(slot);
    }

    void set_coefficients(int64_t slot) {
        coefficients(block_, plan_, params(slot), kept(slot), work(slot) + plan_.a, work(slot) + plan_.b);
    }

    void convolve(int64_t slot, Range images) {
        const Scratch::Share share(scratch_);
        const int64_t group = std::max<int64_t>(plan_.group, 1);
        for (int64_t n = images.first; n < images.last; n += group) {
            const Range some{n, std::min(n + group, images.last)};
            block::convolve(
                block_, plan_, [&](int64_t i) { return image_of(block_, slot, i); }, some, work(slot) + plan_.packed,
                share.floats(), z(slot, n));
            for (int64_t i = some.first; i < some.last && measures(); ++i)
                image_moments(z(slot, i), plan_.pixels, plan_.lanes,
                              work(slot) + plan_.moments + i * kMoments * plan_.lanes);
            if (known()) finish(slot, some);
        }
    }

    void measure(int64_t slot) {
        const int64_t lanes = plan_.lanes;
        std::vector<float> found(static_cast<size_t>(2 * lanes));
        float *mean = found.data(), *variance = mean + lanes;
        merge_moments(work(slot) + plan_.moments, kMoments * lanes, block_.batch, plan_.pixels, block_.c_out, lanes,
                      mean, variance);
        if (!known()) {
            std::copy(found.begin(), found.end(), kept(slot) + plan_.mean);
            set_coefficients(slot);
        }
        if (!statistics_) return;
        float* to = statistics_ + slot * 2 * block_.c_out;
        for (int64_t c = 0; c < block_.c_out; ++c) {
            to[c] = mean[c] + bias(slot, c);
            to[block_.c_out + c] = variance[c];
        }
    }

    void finish(int64_t slot, Range images) {
        const int64_t floats = block_.out_height * block_.out_width * plan_.lanes;
        for (int64_t n = images.first; n < images.last; ++n)
            kernels().conv.norm_pool(gated(norm_pool_of(block_, plan_, z(slot, n), kept(slot), work(slot) + plan_.a,
                                                        work(slot) + plan_.b),
                                           block_, plan_, slot, n, work(slot) + plan_.gate),
                                     y_ + (slot * block_.batch + n) * floats);
    }

    const ConvBlock& block_;
    const Plan& plan_;
    float *y_, *saved_, *statistics_;
    int64_t step_, first_ = 0;
    Block work_;
    Scratch scratch_;
    int threads_;
};

}  // namespace

void forward(const ConvBlock& block, const Plan& plan, float* y, float* saved, float* statistics, const Team& team) {
    Forward(block, plan, y, saved, statistics, team).run(0, block.slots);
}

}  // namespace block

void conv_block(const ConvBlock& given, float* y, float* saved, float* statistics) {
    const block::Plan plan(given);
    if (statistics && given.batch == 0) std::fill_n(statistics, given.slots * 2 * given.c_out, 0.0f);
    if (given.slots == 0 || given.batch == 0) return;
    for_all_slots(
        given.slots, team_of(given.slots, given.threads, plan.chunks, plan.kept + plan.work, plan.macs(given)),
        [&](const Team& team) { return std::make_unique<block::Forward>(given, plan, y, saved, statistics, team); },
        [](block::Forward& worker, int64_t first, int64_t count) { worker.run(first, count); });
}

}  // namespace autometa
