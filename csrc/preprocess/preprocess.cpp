#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "../conv/batch_norm.h"
#include "../conv/planes.h"
#include "../conv/wave.h"
#include "activation.h"
#include "autometa.h"
#include "parallel.h"

namespace autometa {

namespace {

// Shapes, and where a slot's results stand in the kept and in the work memory.
struct PreprocessPlan {
    Conv conv;
    Plane in, out;
    int64_t chunks = 1, gamma = -1, beta = -1;
    int64_t mean = 0, kept = 0;
    int64_t packed = 0, moments = 0, a = 0, b = 0, work = 0;
    int64_t transposed = 0, gradient = 0, back_work = 0;  // gradient: [chunks] of conv.packed()
    int64_t border_h = 0, border_w = 0;                   // of the output's gradient

    explicit PreprocessPlan(const Preprocess& p) {
        const int64_t stride = p.reduce ? 2 : 1, in_lanes = padded_channels(p.depth);
        in = {nullptr, p.height, p.width, 0, 0, in_lanes};
        out = {nullptr, (p.height + stride - 1) / stride, (p.width + stride - 1) / stride, 0, 0,
               padded_channels(p.channels)};
        int64_t column = weights(p);
        if (p.affine) {
            gamma = column;
            beta = column + aligned(p.channels);
            column = beta + aligned(p.channels);
        }
        if (column > p.params_width) throw std::invalid_argument("preprocess: too few parameters");
        chunks = chunks_of(p.batch, out.pixels());
        border_h = conv.taps.back_h(in.height, out.height);
        border_w = conv.taps.back_w(in.width, out.width);
        Layout kept_memory, memory;
        mean = kept_memory.take(2 * out.lanes);
        kept = kept_memory.floats();
        packed = memory.take(conv.packed(out.lanes));
        moments = memory.take(p.batch * kMoments * out.lanes);
        a = memory.take(out.lanes), b = memory.take(out.lanes);
        work = memory.floats();
        transposed = memory.take(conv.transposed(in.lanes));
        gradient = memory.take(chunks * conv.packed(out.lanes));
        back_work = memory.floats();
    }

    int64_t border_floats() const { return (out.height + 2 * border_h) * (out.width + 2 * border_w) * out.lanes; }

private:
    // Sets the convolution; returns the column after its weights.
    int64_t weights(const Preprocess& p) {
        const int64_t all = p.states * p.depth, half = p.channels / 2;
        conv.depth = p.depth;
        conv.outs = p.channels;
        conv.planes = p.states;
        conv.taps.at = {{0, 0}};
        if (p.reduce) {
            conv.taps.stride = 2;
            conv.taps.at.push_back({1 - p.height % 2, 1 - p.width % 2});
        }
        const int64_t second = aligned(half * all);
        for (int64_t j = 0; j < p.states; ++j)
            if (p.reduce) {
                conv.parts.push_back({0, half, all, j * p.depth, 1, 0, 2 * j});
                conv.parts.push_back({second, p.channels - half, all, j * p.depth, 1, half, 2 * j + 1});
            } else {
                conv.parts.push_back({0, p.channels, all, j * p.depth, 1, 0, j});
            }
        return p.reduce ? second + aligned((p.channels - half) * all) : aligned(p.channels * all);
    }
};

class Preprocessing {
public:
    // y: written forward, where the convolution stands until it is normalised; read backward.
    Preprocessing(const Preprocess& args, const PreprocessPlan& plan, float* y, float* saved, const Team& team,
                  bool backward)
        : args_(args),
          plan_(plan),
          y_(y),
          saved_(saved),
          work_step_(aligned(backward ? plan.back_work : plan.work)),
          kept_step_(saved ? 0 : aligned(plan.kept)),
          work_((work_step_ + kept_step_) * team.wave * static_cast<int64_t>(sizeof(float))),
          scratch_(args.states * aligned(plan.in.floats()) +
                       (backward ? aligned(plan.border_floats()) + aligned(plan.in.floats()) + plan.out.floats() : 0),
                   team.threads),
          threads_(team.threads) {}

    void forward(int64_t first, int64_t count, float* statistics) {
        first_ = first;
        for_slots(count, [&](int64_t slot) {
            plan_.conv.pack(params(slot), plan_.out.lanes, work(slot) + plan_.packed);
        });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float* memory) { convolve(slot, n, memory, statistics); });
        for_slots(count, [&](int64_t slot) { finish(slot, statistics); });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float*) {
            const Map z{y_of(slot, n), kept(slot) + plan_.mean, work(slot) + plan_.a};
            kernels().conv.combine(&z, 1, work(slot) + plan_.b, y_of(slot, n), plan_.out.pixels(), plan_.out.lanes);
        });
    }

    void backward(int64_t first, int64_t count, const float* gy, const StateGradient* dstate, float* dparams) {
        first_ = first;
        again_.assign(static_cast<size_t>(count), 0);
        std::vector<std::vector<float>> slopes(static_cast<size_t>(count));
        for_slots(count, [&](int64_t slot) { prepare(slot, dparams); });
        for_images(count, [&](int64_t slot, int64_t, int64_t n, float* memory) {
            float* partial = work(slot) + plan_.moments + n * kMoments * plan_.out.lanes;
            std::memset(partial, 0, static_cast<size_t>(2 * plan_.out.lanes) * sizeof(float));
            each_band(plan_.out, [&](int64_t r, int64_t rows) { image_sums(slot, n, r, rows, gy, memory, partial); });
        });
        for_slots(count, [&](int64_t slot) { slopes[static_cast<size_t>(slot - first)] = slope(slot, dparams); });
        for_images(count, [&](int64_t slot, int64_t c, int64_t n, float* memory) {
            image_backward(slot, c, n, slopes[static_cast<size_t>(slot - first)].data(), gy, dstate, memory);
        });
        for_slots(count, [&](int64_t slot) { gather(slot, dparams); });
    }

private:
    template <class Body>
    void for_slots(int64_t count, const Body& body) {
        parallel_for(count, threads_, [&](int64_t i) { body(first_ + i); });
    }
    template <class Body>
    void for_images(int64_t count, const Body& body) {
        parallel_for(count * plan_.chunks, threads_, [&](int64_t i) {
            const Scratch::Share share(scratch_);
            const Range images = chunk(args_.batch, plan_.chunks, i % plan_.chunks);
            for (int64_t n = images.first; n < images.last; ++n)
                body(first_ + i / plan_.chunks, i % plan_.chunks, n, share.floats());
        });
    }
    const float* params(int64_t slot) const { return args_.params + slot * args_.params_row; }
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * (work_step_ + kept_step_); }
    float* kept(int64_t slot) const { return saved_ ? saved_ + slot * plan_.kept : work(slot) + work_step_; }
    float* y_of(int64_t slot, int64_t n) const { return y_ + (slot * args_.batch + n) * plan_.out.floats(); }
    // Whether the backward computes the convolution again, since y does not tell it.
    bool again(int64_t slot) const { return again_[static_cast<size_t>(slot - first_)] != 0; }
    const float* state(int64_t j, int64_t slot, int64_t n) const {
        return args_.state[j] + (slot * args_.batch + n) * plan_.in.floats();
    }
    const float* gradient_of(const float* gy, int64_t slot, int64_t n) const {
        return gy + (slot * args_.batch + n) * plan_.out.floats();
    }
    Normalisation normalisation(int64_t slot) const {
        const float* mean = kept(slot) + plan_.mean;
        return {mean,
                mean + plan_.out.lanes,
                plan_.gamma < 0 ? nullptr : params(slot) + plan_.gamma,
                plan_.beta < 0 ? nullptr : params(slot) + plan_.beta,
                args_.eps,
                args_.channels,
                plan_.out.lanes};
    }

    int64_t stride() const { return plan_.conv.taps.stride; }

    // Rows of the input that belong to `count` rows of the output from r on.
    Plane rows_in(int64_t r, int64_t count) const {
        Plane part = plan_.in;
        part.height = std::min(count * stride(), plan_.in.height - r * stride());
        return part;
    }

    std::vector<Plane> relu_planes(int64_t slot, int64_t n, int64_t r, int64_t count, float* memory) const {
        std::vector<Plane> planes;
        const Plane part = rows_in(r, count);
        for (int64_t j = 0; j < args_.states; ++j) {
            planes.push_back(part.over(memory + j * aligned(plan_.in.floats())));
            fill_relu(state(j, slot, n) + r * stride() * plan_.in.row(), nullptr, planes.back());
        }
        return planes;
    }

    void convolve(int64_t slot, int64_t n, float* memory, const float* statistics) {
        const Plane out = plan_.out.over(y_of(slot, n));
        const bool measure = args_.given == nullptr || statistics != nullptr;
        float* moments = work(slot) + plan_.moments + n * kMoments * out.lanes;
        each_band(out, [&](int64_t r, int64_t count) {
            const Plane band = out.rows(r, count);
            const std::vector<Plane> in = relu_planes(slot, n, r, count, memory);
            plan_.conv.forward(in.data(), work(slot) + plan_.packed, band);
            if (!measure) return;
            if (r == 0) begin_moments(band.base, band.lanes, moments);
            add_moments(band.base, band.pixels(), band.lanes, moments);
        });
    }

    void finish(int64_t slot, float* statistics) {
        const int64_t c = args_.channels, lanes = plan_.out.lanes;
        const size_t bytes = static_cast<size_t>(c) * sizeof(float);
        float *mean = kept(slot) + plan_.mean, *variance = mean + lanes;
        if (args_.given == nullptr || statistics != nullptr)
            merge_moments(work(slot) + plan_.moments, kMoments * lanes, args_.batch, plan_.out.pixels(), c, lanes, mean,
                          variance);
        if (statistics) {
            std::memcpy(statistics + slot * 2 * c, mean, bytes);
            std::memcpy(statistics + slot * 2 * c + c, variance, bytes);
        }
        if (args_.given) {
            std::memcpy(mean, args_.given + slot * 2 * c, bytes);
            std::memcpy(variance, args_.given + slot * 2 * c + c, bytes);
        }
        normalisation(slot).forward(1.0, work(slot) + plan_.a, work(slot) + plan_.b);
    }

    void prepare(int64_t slot, float* dparams) {
        normalisation(slot).forward(1.0, work(slot) + plan_.a, work(slot) + plan_.b);
        if (!normalisation(slot).invertible()) {
            again_[static_cast<size_t>(slot - first_)] = 1;
            plan_.conv.pack(params(slot), plan_.out.lanes, work(slot) + plan_.packed);
        }
        plan_.conv.pack_transposed(params(slot), plan_.in.lanes, work(slot) + plan_.transposed);
        std::memset(work(slot) + plan_.gradient, 0,
                    static_cast<size_t>(plan_.chunks * plan_.conv.packed(plan_.out.lanes)) * sizeof(float));
        std::memset(dparams + slot * args_.params_width, 0, static_cast<size_t>(args_.params_width) * sizeof(float));
    }

    // Rows of what the normalisation's gradient is reckoned from: z, or y, which stands for it. `in`: their inputs.
    const float* source(int64_t slot, int64_t n, int64_t r, int64_t count, const std::vector<Plane>& in,
                        float* memory) const {
        if (!again(slot)) return y_of(slot, n) + r * plan_.out.row();
        Plane z = plan_.out;
        z.height = count;
        z = z.over(memory + args_.states * aligned(plan_.in.floats()) + aligned(plan_.border_floats()) +
                   aligned(plan_.in.floats()));
        plan_.conv.forward(in.data(), work(slot) + plan_.packed, z);
        return z.base;
    }
    const float* centre(int64_t slot) const { return again(slot) ? kept(slot) + plan_.mean : work(slot) + plan_.b; }

    void image_sums(int64_t slot, int64_t n, int64_t r, int64_t count, const float* gy, float* memory,
                    float* partial) const {
        std::vector<Plane> in;
        if (again(slot)) in = relu_planes(slot, n, r, count, memory);
        kernels().conv.products(gradient_of(gy, slot, n) + r * plan_.out.row(), source(slot, n, r, count, in, memory),
                                centre(slot), partial, partial + plan_.out.lanes, count * plan_.out.width,
                                plan_.out.lanes);
    }

    // Coefficients a, b, c of dz = a * (g - c) + b * (source - centre), and zeros, one after another.
    std::vector<float> slope(int64_t slot, float* dparams) {
        const int64_t lanes = plan_.out.lanes;
        const size_t size = static_cast<size_t>(lanes);
        std::vector<double> g(size, 0.0), product(size, 0.0);
        for (int64_t n = 0; n < args_.batch; ++n) {
            const float* partial = work(slot) + plan_.moments + n * kMoments * lanes;
            for (size_t c = 0; c < static_cast<size_t>(args_.channels); ++c) {
                g[c] += partial[c];
                product[c] += partial[static_cast<size_t>(lanes) + c];
            }
        }
        const float* a = work(slot) + plan_.a;
        for (size_t c = 0; c < static_cast<size_t>(args_.channels) && !again(slot); ++c) product[c] /= a[c];
        float* own = dparams + slot * args_.params_width;
        std::vector<float> found(4 * size);
        normalisation(slot).backward(
            1.0, {g.data(), product.data(), args_.batch * plan_.out.pixels(), args_.given != nullptr}, found.data(),
            found.data() + lanes, found.data() + 2 * lanes, plan_.gamma < 0 ? nullptr : own + plan_.gamma,
            plan_.beta < 0 ? nullptr : own + plan_.beta);
        for (size_t c = 0; c < static_cast<size_t>(args_.channels) && !again(slot); ++c) found[size + c] /= a[c];
        return found;
    }

    void image_backward(int64_t slot, int64_t c, int64_t n, const float* slope, const float* gy, const StateGradient* dstate,
                        float* memory) {
        const auto band = [&](int64_t r, int64_t count) { band_backward(slot, c, n, r, count, slope, gy, dstate, memory); };
        if (plan_.border_h == 0)  // no row's gradient meets another band's
            each_band(plan_.out, band);
        else
            band(0, plan_.out.height);
    }

    void band_backward(int64_t slot, int64_t c, int64_t n, int64_t r, int64_t count, const float* slope,
                       const float* gy, const StateGradient* dstate, float* memory) {
        const int64_t lanes = plan_.out.lanes, whole = aligned(plan_.in.floats());
        const std::vector<Plane> in = relu_planes(slot, n, r, count, memory);
        Plane dz = plan_.out;
        dz.height = count;
        dz.pad_h = plan_.border_h;
        dz.pad_w = plan_.border_w;
        dz = dz.over(memory + args_.states * whole);
        const Plane dr = rows_in(r, count).over(memory + args_.states * whole + aligned(plan_.border_floats()));
        const int64_t skip = r * plan_.out.row(), in_skip = r * stride() * plan_.in.row();
        fill_gradient({gradient_of(gy, slot, n) + skip, slope + 2 * lanes, slope},
                      {source(slot, n, r, count, in, memory), centre(slot), slope + lanes}, slope + 3 * lanes, dz);
        float* dw = work(slot) + plan_.gradient + c * plan_.conv.packed(lanes);
        for (int64_t j = 0; j < args_.states; ++j) {
            plan_.conv.backward_weight(in[static_cast<size_t>(j)], dz, j, dw);
            plan_.conv.backward_data(dz, nullptr, work(slot) + plan_.transposed, j, dr, true);
            const float* gate = state(j, slot, n) + in_skip;
            float* dx = dstate[j].data + (slot * args_.batch + n) * plan_.in.floats() + in_skip;
            if (dstate[j].add)
                kernels().conv.add_gated(dr.base, nullptr, gate, dx, dr.pixels(), plan_.in.lanes);
            else
                kernels().conv.gated(dr.base, gate, dx, dr.pixels(), plan_.in.lanes);
        }
    }

    void gather(int64_t slot, float* dparams) {
        const int64_t size = plan_.conv.packed(plan_.out.lanes);
        float* total = work(slot) + plan_.gradient;
        for (int64_t c = 1; c < plan_.chunks; ++c)
            for (int64_t k = 0; k < size; ++k) total[k] += total[c * size + k];
        plan_.conv.add_gradient(total, plan_.out.lanes, dparams + slot * args_.params_width);
    }

    const Preprocess& args_;
    const PreprocessPlan& plan_;
    float *y_, *saved_;
    std::vector<char> again_;
    int64_t work_step_, kept_step_, first_ = 0;
    Block work_;
    Scratch scratch_;
    int threads_;
};

template <class Run>
void preprocess_slots(const Preprocess& args, const PreprocessPlan& plan, float* y, float* saved, bool backward,
                      const Run& run) {
    const int64_t macs = (backward ? 2 : 1) * args.slots * args.batch * plan.out.pixels() * plan.conv.packed(plan.out.lanes);
    for_all_slots(
        args.slots, team_of(args.slots, args.threads, plan.chunks, plan.kept + plan.back_work, macs),
        [&](const Team& team) { return std::make_unique<Preprocessing>(args, plan, y, saved, team, backward); }, run);
}

}  // namespace

int64_t preprocess_saved(const Preprocess& args) { return PreprocessPlan(args).kept * args.slots; }

void preprocess(const Preprocess& args, float* y, float* saved, float* statistics) {
    const PreprocessPlan plan(args);
    if (args.slots == 0 || args.batch == 0) {
        if (statistics) std::fill_n(statistics, args.slots * 2 * args.channels, 0.0f);
        return;
    }
    preprocess_slots(args, plan, y, saved, false, [&](Preprocessing& worker, int64_t first, int64_t count) {
        worker.forward(first, count, statistics);
    });
}

void preprocess_backward(const Preprocess& args, const float* saved, const float* y, const float* gy,
                         const StateGradient* dstate, float* dparams) {
    const PreprocessPlan plan(args);
    if (args.slots == 0 || args.batch == 0) {
        std::fill_n(dparams, args.slots * args.params_width, 0.0f);
        return;
    }
    preprocess_slots(args, plan, const_cast<float*>(y), const_cast<float*>(saved), true,
                     [&](Preprocessing& worker, int64_t first, int64_t count) {
                         worker.backward(first, count, gy, dstate, dparams);
                     });
}

}  // namespace autometa
