#include <algorithm>
#include <cstring>

#include "../conv/planes.h"
#include "parallel.h"
#include "plan.h"

namespace autometa {

namespace {

class Preprocessing {
public:
    // y: written forward, where the convolution stands until it is normalised; read backward.
    Preprocessing(const Preprocess& args, const PreprocessPlans& plans, float* y, float* saved, const Team& team,
                  bool backward)
        : args_(args),
          plans_(plans),
          sizes_(plans.sizes),
          y_(y),
          saved_(saved),
          work_step_(aligned(plans.most(backward ? &PreprocessPlan::back_work : &PreprocessPlan::work))),
          kept_step_(saved ? 0 : aligned(sizes_.kept)),
          whole_(aligned(sizes_.in.floats())),
          planes_(plans.most_planes()),
          work_((work_step_ + kept_step_) * team.wave * static_cast<int64_t>(sizeof(float))),
          scratch_(planes_ * whole_ + (backward ? aligned(sizes_.border_floats()) + whole_ + sizes_.out.floats() : 0),
                   team.threads),
          threads_(team.threads) {}

    void forward(int64_t first, int64_t count, float* statistics) {
        first_ = first;
        for_slots(count, [&](int64_t slot) {
            plan(slot).conv.pack(params(slot), sizes_.out.lanes, work(slot) + plan(slot).packed);
        });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float* memory) { convolve(slot, n, memory, statistics); });
        for_slots(count, [&](int64_t slot) { finish(slot, statistics); });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float*) {
            if (idle(slot)) return;
            const Map z{y_of(slot, n), kept(slot) + sizes_.mean, work(slot) + sizes_.a};
            kernels().conv.combine(&z, 1, work(slot) + sizes_.b, y_of(slot, n), sizes_.out.pixels(), sizes_.out.lanes);
        });
    }

    void backward(int64_t first, int64_t count, const float* gy, const StateGradient* dstate, float* dparams) {
        first_ = first;
        again_.assign(static_cast<size_t>(count), 0);
        std::vector<std::vector<float>> slopes(static_cast<size_t>(count));
        for_slots(count, [&](int64_t slot) { prepare(slot, dparams); });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float* memory) {
            if (idle(slot)) return;
            float* partial = work(slot) + sizes_.moments + n * kMoments * sizes_.out.lanes;
            std::memset(partial, 0, static_cast<size_t>(2 * sizes_.out.lanes) * sizeof(float));
            each_band(sizes_.out, [&](int64_t r, int64_t rows) { image_sums(slot, n, r, rows, gy, memory, partial); });
        });
        for_slots(count, [&](int64_t slot) {
            if (!idle(slot)) slopes[static_cast<size_t>(slot - first)] = slope(slot, dparams);
        });
        for_images(count, [&](int64_t slot, int64_t c, int64_t n, float* memory) {
            image_backward(slot, c, n, slopes[static_cast<size_t>(slot - first)].data(), gy, dstate, memory);
        });
        for_slots(count, [&](int64_t slot) {
            if (!idle(slot)) gather(slot, dparams);
        });
    }

private:
    template <class Body>
    void for_slots(int64_t count, const Body& body) {
        parallel_for(count, threads_, [&](int64_t i) { body(first_ + i); });
    }
    template <class Body>
    void for_images(int64_t count, const Body& body) {
        parallel_for(count * sizes_.chunks, threads_, [&](int64_t i) {
            const Scratch::Share share(scratch_);
            const Range images = chunk(args_.batch, sizes_.chunks, i % sizes_.chunks);
            for (int64_t n = images.first; n < images.last; ++n)
                body(first_ + i / sizes_.chunks, i % sizes_.chunks, n, share.floats());
        });
    }
    const float* params(int64_t slot) const { return args_.params + slot * args_.params_row; }
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * (work_step_ + kept_step_); }
    float* kept(int64_t slot) const { return saved_ ? saved_ + slot * sizes_.kept : work(slot) + work_step_; }
    float* y_of(int64_t slot, int64_t n) const { return y_ + (slot * args_.batch + n) * sizes_.out.floats(); }
    // Whether the backward computes the convolution again, since y does not tell it.
    bool again(int64_t slot) const { return again_[static_cast<size_t>(slot - first_)] != 0; }
    const float* state(int64_t j, int64_t slot, int64_t n) const {
        return args_.state[j] + (slot * args_.batch + n) * sizes_.in.floats();
    }
    const float* gradient_of(const float* gy, int64_t slot, int64_t n) const {
        return gy + (slot * args_.batch + n) * sizes_.out.floats();
    }
    Normalisation normalisation(int64_t slot) const {
        const float* mean = kept(slot) + sizes_.mean;
        return {mean,
                mean + sizes_.out.lanes,
                plan(slot).gamma < 0 ? nullptr : params(slot) + plan(slot).gamma,
                plan(slot).beta < 0 ? nullptr : params(slot) + plan(slot).beta,
                args_.eps,
                args_.channels,
                sizes_.out.lanes};
    }

    int64_t stride() const { return sizes_.taps.stride; }
    const PreprocessPlan& plan(int64_t slot) const { return plans_.of_slot(slot); }
    bool reads(int64_t slot, int64_t j) const {
        const auto& states = plan(slot).reads;
        return std::find(states.begin(), states.end(), j) != states.end();
    }
    bool idle(int64_t slot) const { return plan(slot).reads.empty(); }

    // Rows of the input that belong to `count` rows of the output from r on.
    Plane rows_in(int64_t r, int64_t count) const {
        Plane part = sizes_.in;
        part.height = std::min(count * stride(), sizes_.in.height - r * stride());
        return part;
    }

    std::vector<Plane> relu_planes(int64_t slot, int64_t n, int64_t r, int64_t count, float* memory) const {
        std::vector<Plane> planes;
        const Plane part = rows_in(r, count);
        for (const int64_t j : plan(slot).reads) {
            planes.push_back(part.over(memory + static_cast<int64_t>(planes.size()) * whole_));
            fill_relu(state(j, slot, n) + r * stride() * sizes_.in.row(), nullptr, planes.back());
        }
        return planes;
    }

    void convolve(int64_t slot, int64_t n, float* memory, const float* statistics) {
        const Plane out = sizes_.out.over(y_of(slot, n));
        if (idle(slot)) {
            std::memset(out.base, 0, static_cast<size_t>(out.floats()) * sizeof(float));
            return;
        }
        const bool measure = args_.given == nullptr || statistics != nullptr;
        float* moments = work(slot) + sizes_.moments + n * kMoments * out.lanes;
        each_band(out, [&](int64_t r, int64_t count) {
            const Plane band = out.rows(r, count);
            const std::vector<Plane> in = relu_planes(slot, n, r, count, memory);
            plan(slot).conv.forward(in.data(), work(slot) + plan(slot).packed, band);
            if (!measure) return;
            if (r == 0) begin_moments(band.base, band.lanes, moments);
            add_moments(band.base, band.pixels(), band.lanes, moments);
        });
    }

    void finish(int64_t slot, float* statistics) {
        const int64_t c = args_.channels, lanes = sizes_.out.lanes;
        const size_t bytes = static_cast<size_t>(c) * sizeof(float);
        float *mean = kept(slot) + sizes_.mean, *variance = mean + lanes;
        if (idle(slot)) {
            if (statistics) std::memset(statistics + slot * 2 * c, 0, 2 * bytes);
            return;
        }
        if (args_.given == nullptr || statistics != nullptr)
            merge_moments(work(slot) + sizes_.moments, kMoments * lanes, args_.batch, sizes_.out.pixels(), c, lanes, mean,
                          variance);
        if (statistics) {
            std::memcpy(statistics + slot * 2 * c, mean, bytes);
            std::memcpy(statistics + slot * 2 * c + c, variance, bytes);
        }
        if (args_.given) {
            std::memcpy(mean, args_.given + slot * 2 * c, bytes);
            std::memcpy(variance, args_.given + slot * 2 * c + c, bytes);
        }
        normalisation(slot).forward(1.0, work(slot) + sizes_.a, work(slot) + sizes_.b);
    }

    void prepare(int64_t slot, float* dparams) {
        std::fill_n(dparams + slot * args_.params_width, args_.params_width, 0.0f);
        if (idle(slot)) return;
        normalisation(slot).forward(1.0, work(slot) + sizes_.a, work(slot) + sizes_.b);
        if (!normalisation(slot).invertible()) {
            again_[static_cast<size_t>(slot - first_)] = 1;
            plan(slot).conv.pack(params(slot), sizes_.out.lanes, work(slot) + plan(slot).packed);
        }
        plan(slot).conv.pack_transposed(params(slot), sizes_.in.lanes, work(slot) + plan(slot).transposed);
        std::memset(work(slot) + plan(slot).gradient, 0,
                    static_cast<size_t>(sizes_.chunks * plan(slot).conv.packed(sizes_.out.lanes)) * sizeof(float));
    }

    // Rows of what the normalisation's gradient is reckoned from: z, or y, which stands for it. `in`: their inputs.
    const float* source(int64_t slot, int64_t n, int64_t r, int64_t count, const std::vector<Plane>& in,
                        float* memory) const {
        if (!again(slot)) return y_of(slot, n) + r * sizes_.out.row();
        Plane z = sizes_.out;
        z.height = count;
        z = z.over(memory + planes_ * whole_ + aligned(sizes_.border_floats()) + whole_);
        plan(slot).conv.forward(in.data(), work(slot) + plan(slot).packed, z);
        return z.base;
    }
    const float* centre(int64_t slot) const { return again(slot) ? kept(slot) + sizes_.mean : work(slot) + sizes_.b; }

    void image_sums(int64_t slot, int64_t n, int64_t r, int64_t count, const float* gy, float* memory,
                    float* partial) const {
        std::vector<Plane> in;
        if (again(slot)) in = relu_planes(slot, n, r, count, memory);
        kernels().conv.products(gradient_of(gy, slot, n) + r * sizes_.out.row(), source(slot, n, r, count, in, memory),
                                centre(slot), partial, partial + sizes_.out.lanes, count * sizes_.out.width,
                                sizes_.out.lanes);
    }

    // Coefficients a, b, c of dz = a * (g - c) + b * (source - centre), and zeros, one after another.
    std::vector<float> slope(int64_t slot, float* dparams) {
        const int64_t lanes = sizes_.out.lanes;
        const size_t size = static_cast<size_t>(lanes);
        std::vector<double> g(size, 0.0), product(size, 0.0);
        for (int64_t n = 0; n < args_.batch; ++n) {
            const float* partial = work(slot) + sizes_.moments + n * kMoments * lanes;
            for (size_t c = 0; c < static_cast<size_t>(args_.channels); ++c) {
                g[c] += partial[c];
                product[c] += partial[static_cast<size_t>(lanes) + c];
            }
        }
        const float* a = work(slot) + sizes_.a;
        for (size_t c = 0; c < static_cast<size_t>(args_.channels) && !again(slot); ++c) product[c] /= a[c];
        float* own = dparams + slot * args_.params_width;
        std::vector<float> found(4 * size);
        normalisation(slot).backward(
            1.0, {g.data(), product.data(), args_.batch * sizes_.out.pixels(), args_.given != nullptr}, found.data(),
            found.data() + lanes, found.data() + 2 * lanes, plan(slot).gamma < 0 ? nullptr : own + plan(slot).gamma,
            plan(slot).beta < 0 ? nullptr : own + plan(slot).beta);
        for (size_t c = 0; c < static_cast<size_t>(args_.channels) && !again(slot); ++c) found[size + c] /= a[c];
        return found;
    }

    void image_backward(int64_t slot, int64_t c, int64_t n, const float* slope, const float* gy, const StateGradient* dstate,
                        float* memory) {
        const auto band = [&](int64_t r, int64_t count) { band_backward(slot, c, n, r, count, slope, gy, dstate, memory); };
        for (int64_t j = 0; j < args_.states; ++j)
            if (!reads(slot, j) && !dstate[j].add)
                std::memset(dstate[j].data + (slot * args_.batch + n) * sizes_.in.floats(), 0,
                            static_cast<size_t>(sizes_.in.floats()) * sizeof(float));
        if (idle(slot)) return;
        if (sizes_.border_h == 0)  // no row's gradient meets another band's
            each_band(sizes_.out, band);
        else
            band(0, sizes_.out.height);
    }

    void band_backward(int64_t slot, int64_t c, int64_t n, int64_t r, int64_t count, const float* slope,
                       const float* gy, const StateGradient* dstate, float* memory) {
        const int64_t lanes = sizes_.out.lanes;
        const PreprocessPlan& own = plan(slot);
        const std::vector<Plane> in = relu_planes(slot, n, r, count, memory);
        Plane dz = sizes_.out;
        dz.height = count;
        dz.pad_h = sizes_.border_h;
        dz.pad_w = sizes_.border_w;
        dz = dz.over(memory + planes_ * whole_);
        const Plane dr = rows_in(r, count).over(memory + planes_ * whole_ + aligned(sizes_.border_floats()));
        const int64_t skip = r * sizes_.out.row(), in_skip = r * stride() * sizes_.in.row();
        const float* z = args_.given ? nullptr : source(slot, n, r, count, in, memory);  // given statistics do not follow
        fill_gradient({gradient_of(gy, slot, n) + skip, slope + 2 * lanes, slope}, {z, centre(slot), slope + lanes},
                      slope + 3 * lanes, dz);
        float* dw = work(slot) + own.gradient + c * own.conv.packed(lanes);
        for (int64_t k = 0; k < own.conv.planes; ++k) {
            const int64_t j = own.reads[static_cast<size_t>(k)];
            own.conv.backward_weight(in[static_cast<size_t>(k)], dz, k, dw);
            own.conv.backward_data(dz, nullptr, work(slot) + own.transposed, k, dr, true);
            const float* gate = state(j, slot, n) + in_skip;
            float* dx = dstate[j].data + (slot * args_.batch + n) * sizes_.in.floats() + in_skip;
            if (dstate[j].add)
                kernels().conv.add_gated(dr.base, nullptr, gate, dx, dr.pixels(), sizes_.in.lanes);
            else
                kernels().conv.gated(dr.base, gate, dx, dr.pixels(), sizes_.in.lanes);
        }
    }

    void gather(int64_t slot, float* dparams) {
        const int64_t size = plan(slot).conv.packed(sizes_.out.lanes);
        float* total = work(slot) + plan(slot).gradient;
        for (int64_t c = 1; c < sizes_.chunks; ++c)
            for (int64_t k = 0; k < size; ++k) total[k] += total[c * size + k];
        plan(slot).conv.add_gradient(total, sizes_.out.lanes, dparams + slot * args_.params_width);
    }

    const Preprocess& args_;
    const PreprocessPlans& plans_;
    const PreprocessSizes& sizes_;
    float *y_, *saved_;
    std::vector<char> again_;
    int64_t work_step_, kept_step_, whole_, planes_, first_ = 0;  // whole: floats of an input plane; planes: most read
    Block work_;
    Scratch scratch_;
    int threads_;
};

template <class Run>
void preprocess_slots(const Preprocess& args, const PreprocessPlans& plans, float* y, float* saved, bool backward,
                      const Run& run) {
    const int64_t floats = plans.sizes.kept + plans.most(&PreprocessPlan::back_work);
    for_all_slots(
        args.slots, team_of(args.slots, args.threads, plans.sizes.chunks, floats, (backward ? 2 : 1) * plans.macs(args)),
        [&](const Team& team) { return std::make_unique<Preprocessing>(args, plans, y, saved, team, backward); }, run);
}

}  // namespace

int64_t preprocess_saved(const Preprocess& args) { return PreprocessSizes(args).kept * args.slots; }

void preprocess(const Preprocess& args, float* y, float* saved, float* statistics) {
    const PreprocessPlans plans(args);
    if (args.slots == 0 || args.batch == 0) {
        if (statistics) std::fill_n(statistics, args.slots * 2 * args.channels, 0.0f);
        return;
    }
    preprocess_slots(args, plans, y, saved, false, [&](Preprocessing& worker, int64_t first, int64_t count) {
        worker.forward(first, count, statistics);
    });
}

void preprocess_backward(const Preprocess& args, const float* saved, const float* y, const float* gy,
                         const StateGradient* dstate, float* dparams) {
    const PreprocessPlans plans(args);
    if (args.slots == 0 || args.batch == 0) {
        std::fill_n(dparams, args.slots * args.params_width, 0.0f);
        return;
    }
    preprocess_slots(args, plans, const_cast<float*>(y), const_cast<float*>(saved), true,
                     [&](Preprocessing& worker, int64_t first, int64_t count) {
                         worker.backward(first, count, gy, dstate, dparams);
                     });
}

}  // namespace autometa
