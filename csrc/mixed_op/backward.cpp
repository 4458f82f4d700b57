// Backward of the mixed node op: sums over the batch first, then every branch in reverse, image by image.
#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "steps.h"

namespace autometa {
namespace mixed {

namespace {

// A normalisation's backward as a map: dz = a * (g - c) + b * (z - mean).
struct Slope {
    std::vector<float> a, b, c;
    explicit Slope(int64_t lanes) : a(size(lanes)), b(size(lanes)), c(size(lanes)) {}
    static size_t size(int64_t lanes) { return static_cast<size_t>(lanes); }
};

class Backward {
public:
    Backward(const Node& node, const Plans& plans, const float* saved, const float* gy, const StateGradient* dstate,
             float* dparams, float* dop, float* dinput, const Team& team)
        : node_(node),
          plans_(plans),
          sizes_(plans.sizes),
          saved_(const_cast<float*>(saved)),
          gy_(gy),
          dstate_(dstate),
          dparams_(dparams),
          dop_(dop),
          dinput_(dinput),
          slopes_(static_cast<size_t>(team.wave)),
          carried_slopes_(static_cast<size_t>(team.wave)),
          work_((step() * team.wave) * static_cast<int64_t>(sizeof(float))),
          scratch_(plans.backward_scratch, team.threads),
          threads_(team.threads) {}

    void run(int64_t first, int64_t count) {
        first_ = first;
        const auto slots = [&](auto body) {
            parallel_for(count, threads_, [&](int64_t i) { body(first + i); });
        };
        const auto chunks = [&](auto body) {
            parallel_for(count * sizes_.chunks, threads_, [&](int64_t i) {
                const Scratch::Share share(scratch_);
                body(first + i / sizes_.chunks, i % sizes_.chunks, share.floats());
            });
        };
        slots([&](int64_t slot) { prepare(slot); });
        chunks([&](int64_t slot, int64_t c, float* memory) { sums(slot, c, memory); });
        slots([&](int64_t slot) { slopes(slot); });
        chunks([&](int64_t slot, int64_t c, float* memory) { last_stages(slot, c, memory); });
        slots([&](int64_t slot) { carried_slopes(slot); });
        chunks([&](int64_t slot, int64_t c, float* memory) { first_stages(slot, c, memory); });
        slots([&](int64_t slot) { gather(slot); });
    }

private:
    int64_t step() const {
        int64_t found = 0;
        for (const Plan& plan : plans_.different) found = std::max(found, plan.back_work);
        return aligned(found);
    }
    const Plan& plan(int64_t slot) const { return plans_.of_slot(slot); }
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * step_; }
    float* kept(int64_t slot) const { return saved_ + plans_.kept_at[static_cast<size_t>(slot)]; }
    float* gradients(int64_t slot, int64_t c) const {
        return work(slot) + plan(slot).gradients_at + c * plan(slot).gradients;
    }
    Range images(int64_t c) const { return chunk(node_.batch, sizes_.chunks, c); }
    const float* gradient_of(int64_t slot, int64_t n) const {
        return gy_ + (slot * node_.batch + n) * sizes_.pixels() * sizes_.lanes;
    }

    void prepare(int64_t slot) {
        const float* params = node_.params + slot * node_.params_row;
        for (const Instance& i : plan(slot).live)
            for (const Stage& stage : i.stages)
                for (size_t k = 0; k < stage.convs.size(); ++k) {
                    stage.convs[k].pack(params, sizes_.lanes, work(slot) + stage.packed[k]);
                    stage.convs[k].pack_transposed(params, sizes_.lanes, work(slot) + stage.transposed[k]);
                }
        std::memset(gradients(slot, 0), 0,
                    static_cast<size_t>(sizes_.chunks * plan(slot).gradients) * sizeof(float));
        std::fill_n(dparams_ + slot * node_.params_width, node_.params_width, 0.0f);  // may be null for a width of 0
    }

    // Of every image: the sum of g, and of g * (z - mean) for every instance, by lane.
    void sums(int64_t slot, int64_t c, float* memory) {
        Pieces pieces(memory);
        float *buffer = pieces.take(plans_.largest), *pooled = pieces.take(plans_.largest);
        float* unused = pieces.take(sizes_.lanes);
        const size_t bytes = static_cast<size_t>(sizes_.lanes) * sizeof(float);
        for (int64_t n = images(c).first; n < images(c).last; ++n) {
            const float* g = gradient_of(slot, n);
            float* base = work(slot) + plan(slot).base_sums + n * sizes_.lanes;
            std::memset(base, 0, bytes);
            std::memset(unused, 0, bytes);
            kernels().conv.products(g, g, nullptr, base, unused, sizes_.pixels(), sizes_.lanes);
            for (const Instance& i : plan(slot).live) {
                float* product = work(slot) + i.sums + n * sizes_.lanes;
                std::memset(product, 0, bytes);
                const float* x = image(node_, sizes_, i.state, slot, n);
                const float* z = x;
                if (!i.identity() && i.last().pool()) {
                    run_pool(pool_of(node_, sizes_, i, x, buffer), i.code, pooled);
                    z = pooled;
                } else if (!i.identity()) {
                    z = z_of(i.last(), kept(slot), n);
                }
                kernels().conv.products(g, z, i.identity() ? nullptr : kept(slot) + i.last().mean, nullptr, product,
                                        sizes_.pixels(), sizes_.lanes);
            }
        }
    }

    // Sums over images in order, with or without an instance's drop path.
    std::vector<double> over_images(int64_t slot, const float* sums, const Instance* dropped) const {
        std::vector<double> total(static_cast<size_t>(sizes_.lanes), 0.0);
        for (int64_t n = 0; n < node_.batch; ++n) {
            const double factor = dropped ? drop_of(node_, slot, n, *dropped) : 1.0;
            for (int64_t c = 0; c < node_.channels; ++c)
                total[static_cast<size_t>(c)] += factor * sums[n * sizes_.lanes + c];
        }
        return total;
    }

    Normalisation::Sums both(const std::vector<double>& g, const std::vector<double>& product,
                             const Stage& stage) const {
        return {g.data(), product.data(), node_.batch * stage.out.pixels(), node_.given != nullptr};
    }

    float* dparam(int64_t slot, int64_t column) const {
        return column < 0 ? nullptr : dparams_ + slot * node_.params_width + column;
    }

    void slopes(int64_t slot) {
        auto& found = slopes_[static_cast<size_t>(slot - first_)];
        found.clear();
        float *dop = dop_ + slot * node_.instances, *dinput = dinput_ + slot * node_.edges;
        std::memset(dop, 0, static_cast<size_t>(node_.instances) * sizeof(float));
        std::vector<double> of_edge(static_cast<size_t>(node_.edges), 0.0);
        for (const Instance& i : plan(slot).live) {
            const std::vector<double> g = over_images(slot, work(slot) + plan(slot).base_sums, &i);
            const std::vector<double> product = over_images(slot, work(slot) + i.sums, &i);
            found.emplace_back(sizes_.lanes);
            double dscale = 0;
            if (i.identity())
                for (const double value : product) dscale += value;
            else
                dscale = normalisation(node_, sizes_, i.last(), kept(slot), slot)
                             .backward(scale_of(node_, slot, i), both(g, product, i.last()), found.back().a.data(),
                                       found.back().b.data(), found.back().c.data(), dparam(slot, i.last().gamma),
                                       dparam(slot, i.last().beta));
            dop[i.number] = static_cast<float>(dscale * edge_weight_of(node_, slot, i.edge));
            of_edge[static_cast<size_t>(i.edge)] += dscale * weight_of(node_, slot, i.number);
        }
        for (int64_t e = 0; e < node_.edges; ++e) dinput[e] = static_cast<float>(of_edge[static_cast<size_t>(e)]);
    }

    // Pieces of scratch memory that the branches of an image share.
    struct Room {
        float *relu, *mid, *dz, *dmid, *dr, *buffer, *carried_relu, *factor;
        Room(float* memory, int64_t largest, int64_t lanes) {
            Pieces pieces(memory);
            relu = pieces.take(largest), mid = pieces.take(largest), dz = pieces.take(largest);
            dmid = pieces.take(largest), dr = pieces.take(largest), carried_relu = pieces.take(largest);
            buffer = pieces.take(2 * largest), factor = pieces.take(4 * lanes);
            std::memset(factor + 3 * lanes, 0, static_cast<size_t>(lanes) * sizeof(float));
        }
    };

    // Through the convolutions of a stage: from room.dz (with its border) to dx (added) and the weight gradients.
    void convs_backward(int64_t slot, int64_t c, int64_t n, const Stage& stage, const Plane& in, const Plane& dz,
                        const Room& room, const Plane& dx, bool fresh) {
        const float* packed = work(slot);
        const size_t last = stage.convs.size() - 1;
        if (last == 0) {
            stage.convs[0].backward_weight(in, dz, 0, gradients(slot, c) + stage.gradient[0]);
            stage.convs[0].backward_data(dz, packed + stage.packed[0], packed + stage.transposed[0], 0, dx,
                                         fresh);
            return;
        }
        Plane dmid = stage.mid;
        dmid.pad_h = stage.convs[0].taps.back_h(stage.in.height, stage.mid.height);
        dmid.pad_w = stage.convs[0].taps.back_w(stage.in.width, stage.mid.width);
        dmid = dmid.over(room.dmid);
        dmid.clear_border();
        float* dw = gradients(slot, c) + stage.gradient[1];
        if (stage.kept_mid >= 0)
            stage.convs[1].backward_weight(mid_plane(stage, kept(slot), n, room.mid), dz, 0, dw);
        else
            each_band(stage.mid, [&](int64_t r, int64_t count) {
                const Plane mid = band_of_mid(stage, in, packed, r, count, room.mid);
                stage.convs[1].backward_weight(mid, dz.rows(r, count), 0, dw);
            });
        stage.convs[1].backward_data(dz, packed + stage.packed[1], packed + stage.transposed[1], 0, dmid,
                                     true);
        stage.convs[0].backward_weight(in, dmid, 0, gradients(slot, c) + stage.gradient[0]);
        stage.convs[0].backward_data(dmid, packed + stage.packed[0], packed + stage.transposed[0], 0, dx,
                                     fresh);
    }

    // The plane for the gradient of a stage's output, with the border that its last convolution asks for.
    Plane dz_plane(const Stage& stage, float* memory) const {
        Plane plane = stage.out;
        if (!stage.pool()) {
            const Plane& before = stage.convs.size() == 2 ? stage.mid : stage.in;
            plane.pad_h = stage.convs.back().taps.back_h(before.height, stage.out.height);
            plane.pad_w = stage.convs.back().taps.back_w(before.width, stage.out.width);
        }
        return plane.over(memory);
    }

    void last_stages(int64_t slot, int64_t c, float* memory) {
        const Room room(memory, plans_.largest, sizes_.lanes);
        for (int64_t n = images(c).first; n < images(c).last; ++n)
            for (int64_t j = 0; j < node_.states; ++j) {
                if (dstate_[j].data == nullptr) continue;
                const float* x = image(node_, sizes_, j, slot, n);
                const Plane in = relu_plane(node_, sizes_, plan(slot), j, room.relu);
                const int64_t floats = in.pixels() * in.lanes;
                float* dx = dstate_[j].data + (slot * node_.batch + n) * floats;
                if (!dstate_[j].add) std::memset(dx, 0, static_cast<size_t>(floats) * sizeof(float));
                const bool convs = reads_relu(plan(slot), j);
                const Plane dr = Plane{nullptr, in.height, in.width, 0, 0, in.lanes}.over(room.dr);
                bool fresh = true;  // dr has no value yet
                if (convs) fill_relu(x, nullptr, in);
                for (size_t k = 0; k < plan(slot).live.size(); ++k)
                    if (plan(slot).live[k].state == j) branch(slot, c, n, k, x, in, room, dr, dx, &fresh);
                if (!fresh) kernels().conv.add_gated(room.dr, nullptr, x, dx, in.pixels(), in.lanes);
            }
    }

    void branch(int64_t slot, int64_t c, int64_t n, size_t k, const float* x, const Plane& in, const Room& room,
                const Plane& dr, float* dx, bool* fresh) {
        const Instance& i = plan(slot).live[k];
        const float drop = drop_of(node_, slot, n, i), *g = gradient_of(slot, n);
        const Slope& slope = slopes_[static_cast<size_t>(slot - first_)][k];
        if (i.identity()) {
            const float factor = static_cast<float>(scale_of(node_, slot, i)) * drop;
            for (int64_t lane = 0; lane < sizes_.lanes; ++lane) room.factor[lane] = factor;
            kernels().conv.add_gated(g, room.factor, nullptr, dx, sizes_.pixels(), sizes_.lanes);
            return;
        }
        // dz = a * (drop * g - c) + ..: the mean c is taken off g where it can be, so that equal values stay exact.
        float *factor = room.factor, *centre = factor + sizes_.lanes, *shift = centre + sizes_.lanes;
        for (int64_t lane = 0; lane < sizes_.lanes; ++lane) {
            const float a = slope.a[static_cast<size_t>(lane)], c0 = slope.c[static_cast<size_t>(lane)];
            factor[lane] = drop * a;
            centre[lane] = drop == 0.0f ? 0.0f : c0 / drop;
            shift[lane] = drop == 0.0f ? -a * c0 : 0.0f;
        }
        const Stage& stage = i.last();
        const Plane dz = dz_plane(stage, room.dz);
        const Pool pool = pool_of(node_, sizes_, i, x, room.buffer);
        const float* z = room.mid;
        if (stage.pool())
            run_pool(pool, i.code, room.mid);
        else
            z = z_of(stage, kept(slot), n);
        fill_gradient({g, centre, factor}, {follows(z), kept(slot) + stage.mean, slope.b.data()}, shift, dz);
        if (stage.pool()) {
            const ConvKernels& kernel = kernels().conv;
            (kind_of(i.code) == Kind::maximum ? kernel.max_pool_backward : kernel.avg_pool_backward)(pool, dz.base, dx);
        } else if (i.stages.size() == 1) {
            convs_backward(slot, c, n, stage, in, dz, room, dr, *fresh);
            *fresh = false;
        } else {
            second_stage(slot, c, n, i, dz, room);
        }
    }

    // What statistics of the batch follow; given ones leave it out of the gradient, also where it is not a number.
    const float* follows(const float* z) const { return node_.given ? nullptr : z; }

    // From the second stage's dz to the gradient of the first stage's normalised output, which is carried on.
    void second_stage(int64_t slot, int64_t c, int64_t n, const Instance& i, const Plane& dz, const Room& room) {
        const Stage &first = i.stages[0], &second = i.stages[1];
        const int64_t lanes = sizes_.lanes, pixels = second.in.pixels();
        float *a = room.buffer, *b = a + lanes;
        normalisation(node_, sizes_, first, kept(slot), slot).forward(1.0, a, b);
        const Plane in = second.in.over(room.carried_relu);
        const Affine from{kept(slot) + first.mean, a, b};
        fill_relu(z_of(first, kept(slot), n), &from, in);
        const Plane dr = first.out.over(b + lanes);
        convs_backward(slot, c, n, second, in, dz, room, dr, true);
        float* carried = work(slot) + i.carried + n * first.out.floats();
        for (int64_t r = 0; r < in.height; ++r)
            kernels().conv.gated(dr.at(r, 0), in.at(r, 0), carried + r * in.width * lanes, in.width, lanes);
        float* partial = work(slot) + first.moments + n * first.image_step;
        std::memset(partial, 0, static_cast<size_t>(2 * lanes) * sizeof(float));
        kernels().conv.products(carried, z_of(first, kept(slot), n), kept(slot) + first.mean, partial, partial + lanes,
                                pixels, lanes);
    }

    void carried_slopes(int64_t slot) {
        auto& found = carried_slopes_[static_cast<size_t>(slot - first_)];
        found.clear();
        for (const Instance& i : plan(slot).live) {
            found.emplace_back(sizes_.lanes);
            if (i.stages.size() < 2) continue;
            const Stage& stage = i.stages[0];
            std::vector<double> g(static_cast<size_t>(sizes_.lanes), 0.0), product = g;
            for (int64_t n = 0; n < node_.batch; ++n) {
                const float* partial = work(slot) + stage.moments + n * stage.image_step;
                for (int64_t c = 0; c < node_.channels; ++c) {
                    g[static_cast<size_t>(c)] += partial[c];
                    product[static_cast<size_t>(c)] += partial[sizes_.lanes + c];
                }
            }
            normalisation(node_, sizes_, stage, kept(slot), slot)
                .backward(1.0, both(g, product, stage), found.back().a.data(), found.back().b.data(),
                          found.back().c.data(), dparam(slot, stage.gamma), dparam(slot, stage.beta));
        }
    }

    // First stages of instances that have two.
    void first_stages(int64_t slot, int64_t c, float* memory) {
        const Room room(memory, plans_.largest, sizes_.lanes);
        const Plan& own = plan(slot);
        for (int64_t n = images(c).first; n < images(c).last; ++n)
            for (int64_t j = 0; j < node_.states; ++j) {
                if (dstate_[j].data == nullptr) continue;
                const float* x = image(node_, sizes_, j, slot, n);
                const Plane in = relu_plane(node_, sizes_, own, j, room.relu);
                const Plane dr = Plane{nullptr, in.height, in.width, 0, 0, in.lanes}.over(room.dr);
                const int64_t floats = in.pixels() * in.lanes;
                bool any = false;
                for (size_t k = 0; k < own.live.size(); ++k) {
                    const Instance& i = own.live[k];
                    if (i.state != j || i.stages.size() < 2) continue;
                    if (!any) fill_relu(x, nullptr, in);
                    const Stage& stage = i.stages[0];
                    const Slope& slope = carried_slopes_[static_cast<size_t>(slot - first_)][k];
                    const Plane dz = dz_plane(stage, room.dz);
                    const float* g = work(slot) + i.carried + n * stage.out.floats();
                    fill_gradient({g, slope.c.data(), slope.a.data()},
                                  {follows(z_of(stage, kept(slot), n)), kept(slot) + stage.mean, slope.b.data()},
                                  room.factor + 3 * sizes_.lanes, dz);
                    convs_backward(slot, c, n, stage, in, dz, room, dr, !any);
                    any = true;
                }
                float* dx = dstate_[j].data + (slot * node_.batch + n) * floats;
                if (any) kernels().conv.add_gated(room.dr, nullptr, x, dx, in.pixels(), in.lanes);
            }
    }

    // Weight gradients of all chunks, in order.
    void gather(int64_t slot) {
        float* total = gradients(slot, 0);
        for (int64_t c = 1; c < sizes_.chunks; ++c) {
            const float* more = gradients(slot, c);
            for (int64_t k = 0; k < plan(slot).gradients; ++k) total[k] += more[k];
        }
        for (const Instance& i : plan(slot).live)
            for (const Stage& stage : i.stages)
                for (size_t k = 0; k < stage.convs.size(); ++k)
                    stage.convs[k].add_gradient(total + stage.gradient[k], sizes_.lanes,
                                                dparams_ + slot * node_.params_width);
    }

    const Node& node_;
    const Plans& plans_;
    const Sizes sizes_;
    float* saved_;
    const float* gy_;
    const StateGradient* dstate_;
    float *dparams_, *dop_, *dinput_;
    int64_t first_ = 0;
    std::vector<std::vector<Slope>> slopes_, carried_slopes_;
    const int64_t step_ = step();
    Block work_;
    Scratch scratch_;
    int threads_;
};

}  // namespace

}  // namespace mixed

void mixed_op_backward(const Node& node, const float* saved, const float* gy, const StateGradient* dstate,
                       float* dparams, float* dop, float* dinput) {
    const mixed::Plans plans(node);
    if (node.slots == 0 || node.batch == 0) {
        std::fill_n(dparams, node.slots * node.params_width, 0.0f);
        std::fill_n(dop, node.slots * node.instances, 0.0f);
        std::fill_n(dinput, node.slots * node.edges, 0.0f);
        return;
    }
    for_all_slots(
        node.slots, team_of(node.slots, node.threads, plans.sizes.chunks, plans.floats_per_slot(), 3 * plans.macs()),
        [&](const Team& team) {
            return std::make_unique<mixed::Backward>(node, plans, saved, gy, dstate, dparams, dop, dinput, team);
        },
        [](mixed::Backward& worker, int64_t first, int64_t count) { worker.run(first, count); });
}

}  // namespace autometa
