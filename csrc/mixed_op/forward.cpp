// Forward of the mixed node op: statistics where a branch is written, then one pass that normalises, weighs and adds.
#include <cstring>

#include "parallel.h"
#include "steps.h"

namespace autometa {
namespace mixed {

namespace {

class Forward {
public:
    Forward(const Node& node, const Plans& plans, float* y, float* saved, float* statistics, const Team& team)
        : node_(node),
          plans_(plans),
          sizes_(plans.sizes),
          y_(y),
          saved_(saved),
          statistics_(statistics),
          work_step_(largest(&Plan::work)),
          kept_step_(saved ? 0 : largest(&Plan::kept)),
          work_((work_step_ + kept_step_) * team.wave * static_cast<int64_t>(sizeof(float))),
          scratch_(plans.forward_scratch, team.threads),
          threads_(team.threads) {}

    void run(int64_t first, int64_t count) {
        first_ = first;
        const auto slots = [&](auto body) {
            parallel_for(count, threads_, [&](int64_t i) { body(first + i); });
        };
        const auto chunks = [&](auto body) {
            parallel_for(count * sizes_.chunks, threads_, [&](int64_t i) {
                const Scratch::Share share(scratch_);
                body(first + i / sizes_.chunks, chunk(node_.batch, sizes_.chunks, i % sizes_.chunks), share.floats());
            });
        };
        slots([&](int64_t slot) { pack(slot); });
        chunks([&](int64_t slot, Range images, float* memory) { first_stages(slot, images, memory); });
        slots([&](int64_t slot) { finish(slot, 0); });
        if (second_stages_) {
            chunks([&](int64_t slot, Range images, float* memory) { second_stages(slot, images, memory); });
            slots([&](int64_t slot) { finish(slot, 1); });
        }
        chunks([&](int64_t slot, Range images, float* memory) { combine(slot, images, memory); });
    }

    static bool has_second_stages(const Plans& plans) {
        for (const Plan& plan : plans.different)
            for (const Instance& i : plan.live)
                if (i.stages.size() > 1) return true;
        return false;
    }

private:
    int64_t largest(int64_t Plan::* size) const {
        int64_t found = 0;
        for (const Plan& plan : plans_.different) found = std::max(found, plan.*size);
        return aligned(found);
    }
    const Plan& plan(int64_t slot) const { return plans_.of_slot(slot); }
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * (work_step_ + kept_step_); }
    float* kept(int64_t slot) const {
        return saved_ ? saved_ + plans_.kept_at[static_cast<size_t>(slot)] : work(slot) + work_step_;
    }
    bool measures() const { return node_.given == nullptr || statistics_ != nullptr; }

    void pack(int64_t slot) {
        for (const Instance& i : plan(slot).live)
            for (const Stage& stage : i.stages)
                for (size_t k = 0; k < stage.convs.size(); ++k)
                    stage.convs[k].pack(node_.params + slot * node_.params_row, sizes_.lanes,
                                        work(slot) + stage.packed[k]);
    }

    // Where the moments of an image go; null where nobody asks for them.
    float* moments(const Stage& stage, int64_t slot, int64_t n) const {
        return measures() ? work(slot) + stage.moments + n * stage.image_step : nullptr;
    }

    void first_stages(int64_t slot, Range images, float* memory) {
        Pieces pieces(memory);
        const int64_t whole = plans_.largest;
        float *relu = pieces.take(whole), *mid = pieces.take(whole), *pooled = pieces.take(whole);
        float* buffer = pieces.take(whole);
        for (int64_t n = images.first; n < images.last; ++n)
            for (int64_t j = 0; j < node_.states; ++j) {
                const float* x = image(node_, sizes_, j, slot, n);
                const Plane in = relu_plane(node_, sizes_, plan(slot), j, relu);
                if (reads_relu(plan(slot), j)) fill_relu(x, nullptr, in);
                for (const Instance& i : plan(slot).live) {
                    if (i.state != j || i.identity()) continue;
                    const Stage& stage = i.stages[0];
                    if (!stage.pool()) {
                        run_convs(stage, in, work(slot), kept(slot), n, mid, moments(stage, slot, n));
                    } else if (measures()) {
                        run_pool(pool_of(node_, sizes_, i, x, buffer), i.code, pooled);
                        image_moments(pooled, stage.out.pixels(), sizes_.lanes, moments(stage, slot, n));
                    }
                }
            }
    }

    void second_stages(int64_t slot, Range images, float* memory) {
        Pieces pieces(memory);
        float *relu = pieces.take(plans_.largest), *mid = pieces.take(plans_.largest);
        float *a = pieces.take(sizes_.lanes), *b = pieces.take(sizes_.lanes);
        for (const Instance& i : plan(slot).live) {
            if (i.stages.size() < 2) continue;
            const Stage& stage = i.stages[1];
            normalisation(node_, sizes_, i.stages[0], kept(slot), slot).forward(1.0, a, b);
            const Plane in = stage.in.over(relu);
            const Affine from{kept(slot) + i.stages[0].mean, a, b};
            for (int64_t n = images.first; n < images.last; ++n) {
                fill_relu(z_of(i.stages[0], kept(slot), n), &from, in);
                run_convs(stage, in, work(slot), kept(slot), n, mid, moments(stage, slot, n));
            }
        }
    }

    // Statistics of stage k of every instance.
    void finish(int64_t slot, int64_t k) {
        const int64_t c = node_.channels;
        const size_t bytes = static_cast<size_t>(c) * sizeof(float);
        for (const Instance& i : plan(slot).live) {
            if (static_cast<int64_t>(i.stages.size()) <= k) continue;
            const Stage& stage = i.stages[static_cast<size_t>(k)];
            float *mean = kept(slot) + stage.mean, *variance = mean + sizes_.lanes;
            if (measures())
                merge_moments(work(slot) + stage.moments, stage.image_step, node_.batch, stage.out.pixels(), c,
                              sizes_.lanes, mean, variance);
            const int64_t at = ((slot * node_.instances + i.number) * kStages + k) * 2 * c;
            if (statistics_) {
                std::memcpy(statistics_ + at, mean, bytes);
                std::memcpy(statistics_ + at + c, variance, bytes);
            }
            if (node_.given) {
                std::memcpy(mean, node_.given + at, bytes);
                std::memcpy(variance, node_.given + at + c, bytes);
            }
        }
    }

    void combine(int64_t slot, Range images, float* memory) {
        Pieces pieces(memory);
        float *buffer = pieces.take(plans_.largest), *pooled = pieces.take(plans_.largest);
        const int64_t lanes = sizes_.lanes, count = static_cast<int64_t>(plan(slot).live.size());
        float *a = pieces.take(count * lanes), *b = pieces.take(count * lanes);
        float *scaled = pieces.take(count * lanes), *shift = pieces.take(lanes);
        coefficients(slot, a, b);
        for (int64_t n = images.first; n < images.last; ++n) {
            std::memset(shift, 0, static_cast<size_t>(lanes) * sizeof(float));
            for (int64_t i = 0; i < count; ++i) {
                const float drop = drop_of(node_, slot, n, plan(slot).live[static_cast<size_t>(i)]);
                for (int64_t c = 0; c < lanes; ++c) {
                    scaled[i * lanes + c] = drop * a[i * lanes + c];
                    shift[c] += drop == 0.0f ? scaled[i * lanes + c] : drop * b[i * lanes + c];  // 0, if a is a number
                }
            }
            combine_image(slot, n, scaled, shift, buffer, pooled);
        }
    }

    // y = a * (x - mean) + b of every instance's last stage; identities have neither mean nor b.
    void coefficients(int64_t slot, float* a, float* b) {
        for (const Instance& i : plan(slot).live) {
            const double scale = scale_of(node_, slot, i);
            if (i.identity())
                for (int64_t c = 0; c < sizes_.lanes; ++c) a[c] = static_cast<float>(scale), b[c] = 0;
            else
                normalisation(node_, sizes_, i.last(), kept(slot), slot).forward(scale, a, b);
            a += sizes_.lanes, b += sizes_.lanes;
        }
    }

    void combine_image(int64_t slot, int64_t n, const float* scaled, const float* shift, float* buffer,
                       float* pooled) {
        constexpr int64_t kMaps = 8;
        Map maps[kMaps];
        float* out = y_ + (slot * node_.batch + n) * sizes_.pixels() * sizes_.lanes;
        int64_t waiting = 0;
        bool pool_waits = false;
        const auto flush = [&] {
            kernels().conv.combine(maps, waiting, shift, out, sizes_.pixels(), sizes_.lanes);
            waiting = 0, pool_waits = false, shift = nullptr;
        };
        for (const Instance& i : plan(slot).live) {
            const float* factor = scaled;
            scaled += sizes_.lanes;
            if (drop_of(node_, slot, n, i) == 0.0f) continue;
            const bool pool = !i.identity() && i.stages[0].pool();
            if (waiting == kMaps || (pool && pool_waits)) flush();
            const float* x = image(node_, sizes_, i.state, slot, n);
            if (pool) run_pool(pool_of(node_, sizes_, i, x, buffer), i.code, pooled);
            pool_waits = pool_waits || pool;
            const float* z = i.identity() ? x : pool ? pooled : z_of(i.last(), kept(slot), n);
            maps[waiting++] = {z, i.identity() ? nullptr : kept(slot) + i.last().mean, factor};
        }
        if (waiting > 0 || shift != nullptr) flush();
    }

    const Node& node_;
    const Plans& plans_;
    const Sizes sizes_;
    float *y_, *saved_, *statistics_;
    int64_t work_step_, kept_step_, first_ = 0;
    bool second_stages_ = has_second_stages(plans_);
    Block work_;
    Scratch scratch_;
    int threads_;
};

}  // namespace

}  // namespace mixed

void mixed_op(const Node& node, float* y, float* saved, float* statistics) {
    const mixed::Plans plans(node);
    if (statistics)
        std::memset(statistics, 0,
                    static_cast<size_t>(node.slots * node.instances * mixed::kStages * 2 * node.channels) *
                        sizeof(float));
    if (node.slots == 0 || node.batch == 0) return;
    for_all_slots(
        node.slots, team_of(node.slots, node.threads, plans.sizes.chunks, plans.floats_per_slot(), plans.macs()),
        [&](const Team& team) { return std::make_unique<mixed::Forward>(node, plans, y, saved, statistics, team); },
        [](mixed::Forward& worker, int64_t first, int64_t count) { worker.run(first, count); });
}

}  // namespace autometa
