// Backward of the conv block: sums over the batch first, then the gradient of z and the products, image by image.
#include <algorithm>
#include <cstring>

#include "parallel.h"
#include "plan.h"

namespace autometa {
namespace block {

namespace {

class Backward {
public:
    Backward(const ConvBlock& block, const Plan& plan, const float* saved, const float* y, const Before* before,
             const float* gy, float* dx, float* dparams, const Team& team)
        : block_(block),
          plan_(plan),
          before_(before),
          saved_(saved),
          y_(y),
          gy_(gy),
          dx_(dx),
          dparams_(dparams),
          work_(plan.back_work * team.wave * static_cast<int64_t>(sizeof(float))),
          scratch_(plan.scratch, team.threads),
          threads_(team.threads) {}

    void run(int64_t first, int64_t count) {
        first_ = first;
        source_.assign(static_cast<size_t>(count), kKept);
        const auto slots = [&](auto body) {
            parallel_for(count, threads_, [&](int64_t i) { body(first + i); });
        };
        const auto chunks = [&](auto body) {
            parallel_for(count * plan_.chunks, threads_,
                         [&](int64_t i) { body(first + i / plan_.chunks, i % plan_.chunks); });
        };
        slots([&](int64_t slot) { prepare(slot); });
        chunks([&](int64_t slot, int64_t c) { sums(slot, c); });
        slots([&](int64_t slot) { slopes(slot); });
        chunks([&](int64_t slot, int64_t c) { products(slot, c); });
        slots([&](int64_t slot) { gather(slot); });
    }

private:
    float* work(int64_t slot) const { return work_.floats() + (slot - first_) * plan_.back_work; }
    const float* kept(int64_t slot) const { return saved_ + slot * plan_.kept; }
    const float* params(int64_t slot) const { return block_.params + slot * block_.params_row; }
    float* dparams(int64_t slot) const { return dparams_ + slot * block_.grad_row; }
    const float* gradient_of(int64_t slot, int64_t n) const {
        return gy_ + (slot * block_.batch + n) * block_.out_height * block_.out_width * plan_.lanes;
    }
    float* image_dx(int64_t slot, int64_t n) const {
        return dx_ + (slot * block_.batch + n) * block_.height * block_.width * plan_.in_lanes;
    }
    Range images(int64_t c) const { return chunk(block_.batch, plan_.chunks, c); }
    // Where the convolution's result comes from: what was kept, y, or, where y does not tell it, the convolution.
    enum Source : char { kKept, kOutput, kAgain };
    Source source(int64_t slot) const { return source_[static_cast<size_t>(slot - first_)]; }

    // The pass over image n; `again`: the images' results from image `from` on, where they are computed again.
    NormPool pass(int64_t slot, int64_t n, const float* again, int64_t from) const {
        const float *a = work(slot) + plan_.back_a, *b = work(slot) + plan_.back_b;
        const int64_t image = plan_.pixels * plan_.lanes;
        const float* z = source(slot) == kKept     ? kept(slot) + plan_.z + n * image
                         : source(slot) == kOutput ? y_ + (slot * block_.batch + n) * image
                                                   : again + (n - from) * image;
        NormPool found = gated(norm_pool_of(block_, plan_, z, kept(slot), a, b), block_, plan_, slot, n,
                               work(slot) + plan_.back_gate);
        if (source(slot) == kOutput) found.centre = b;
        return found;
    }

    // What the block before keeps of a slot.
    const float* kept_before(int64_t slot) const { return before_->saved + slot * before_->plan.kept; }

    // Image n, where it stands or computed again.
    const float* image(int64_t slot, int64_t n, float* memory) const {
        if (!before_) return image_of(block_, slot, n);
        const Plan& plan = before_->plan;
        const float *kept = kept_before(slot), *a = work(slot) + plan_.before;
        kernels().conv.norm_pool(gated(norm_pool_of(before_->block, plan, kept + plan.z + n * plan.pixels * plan.lanes,
                                                    kept, a, a + plan.lanes),
                                       before_->block, plan, slot, n, a + 2 * plan.lanes),
                                 memory + plan_.x_again);
        return memory + plan_.x_again;
    }

    // Compute the convolution of some images again where that is needed; `memory` is a body's scratch.
    const float* again(int64_t slot, Range images, float* memory) const {
        if (source(slot) == kAgain)
            convolve(
                block_, plan_, [&](int64_t n) { return image(slot, n, memory); }, images, work(slot) + plan_.packed,
                memory, memory + plan_.z_again);
        return memory + plan_.z_again;
    }

    // Calls body(images) for the chunk's images, as many at a time as a product takes.
    template <class Body>
    void each_group(int64_t c, const Body& body) const {
        const int64_t group = std::max<int64_t>(plan_.group, 1);
        for (int64_t n = images(c).first; n < images(c).last; n += group)
            body(Range{n, std::min(n + group, images(c).last)});
    }

    void prepare(int64_t slot) {
        if (dx_) plan_.pack_transposed(block_, params(slot), work(slot) + plan_.transposed);
        coefficients(block_, plan_, params(slot), kept(slot), work(slot) + plan_.back_a, work(slot) + plan_.back_b);
        gate_coefficients(block_, plan_, slot, work(slot) + plan_.back_gate);
        if (before_) {
            float* a = work(slot) + plan_.before;
            gate_coefficients(before_->block, before_->plan, slot, a + 2 * before_->plan.lanes);
            coefficients(before_->block, before_->plan, before_->block.params + slot * before_->block.params_row,
                         kept_before(slot), a, a + before_->plan.lanes);
        }
        if (plan_.in_y) {
            const bool tells = normalisation(block_, plan_, params(slot), kept(slot)).invertible();
            source_[static_cast<size_t>(slot - first_)] = tells ? kOutput : kAgain;
            if (!tells) plan_.pack(params(slot), work(slot) + plan_.packed);
        }
        const int64_t weights = block_.c_out * plan_.depth;
        std::memset(dparams(slot) + weights, 0,
                    static_cast<size_t>(block_.params_width - weights) * sizeof(float));
    }

    // Of every image: the gradient of the normalised output, and that times z - mean, summed over pixels.
    void sums(int64_t slot, int64_t c) {
        const Scratch::Share share(scratch_);
        const int64_t lanes = plan_.lanes;
        each_group(c, [&](Range some) {
            const float* z = again(slot, some, share.floats());
            for (int64_t n = some.first; n < some.last; ++n) {
                float* sum = work(slot) + plan_.sums + n * 2 * lanes;
                std::memset(sum, 0, static_cast<size_t>(2 * lanes) * sizeof(float));
                kernels().conv.norm_pool_sums(pass(slot, n, z, some.first), gradient_of(slot, n), sum, sum + lanes);
            }
        });
    }

    // How z's gradient follows from that of the normalised output; gradients of bias, gamma and beta.
    void slopes(int64_t slot) {
        const int64_t lanes = plan_.lanes;
        std::vector<double> g(static_cast<size_t>(lanes), 0.0), product = g;
        for (int64_t n = 0; n < block_.batch; ++n) {
            const float* sum = work(slot) + plan_.sums + n * 2 * lanes;
            for (int64_t c = 0; c < block_.c_out; ++c) {
                g[static_cast<size_t>(c)] += sum[c];
                product[static_cast<size_t>(c)] += sum[lanes + c];
            }
        }
        float *of_g = work(slot) + plan_.slopes, *of_z = of_g + lanes, *mean = of_z + lanes;
        const float* a = work(slot) + plan_.back_a;
        const int64_t scaled = source(slot) == kOutput ? block_.c_out : 0;  // y - b is a times as large as z - mean
        for (int64_t c = 0; c < scaled; ++c) product[static_cast<size_t>(c)] /= a[c];
        if (block_.norm) {
            const Normalisation norm = normalisation(block_, plan_, params(slot), kept(slot));
            norm.backward(1.0, {g.data(), product.data(), block_.batch * plan_.pixels, block_.given != nullptr}, of_g,
                          of_z, mean, dparams(slot) + plan_.gamma, dparams(slot) + plan_.beta);
            for (int64_t c = 0; c < scaled; ++c) of_z[c] /= a[c];
        } else {
            for (int64_t c = 0; c < lanes; ++c) of_g[c] = c < block_.c_out ? 1.0f : 0.0f, of_z[c] = mean[c] = 0;
        }
        // Statistics of the batch follow the bias: nothing is left of it.
        const bool cancels = block_.norm && !block_.given;
        for (int64_t c = 0; c < block_.c_out && block_.bias && !cancels; ++c)
            dparams(slot)[plan_.bias + c] = static_cast<float>(of_g[c] * g[static_cast<size_t>(c)]);
    }

    void products(int64_t slot, int64_t c) {
        const Scratch::Share share(scratch_);
        float* gradient = work(slot) + plan_.gradients + c * plan_.gradient;
        std::memset(gradient, 0, static_cast<size_t>(plan_.gradient) * sizeof(float));
        float* parts = share.floats() + plan_.parts;
        const int64_t part = block_.c_in * plan_.lanes;
        if (plan_.forth) std::memset(parts, 0, static_cast<size_t>(Winograd::kParts * part) * sizeof(float));
        each_group(c, [&](Range some) {
            if (plan_.forth)
                winograd(slot, some.first, share.floats(), parts);
            else if (plan_.patched())
                patches(slot, some, share.floats(), gradient);
            else
                plane(slot, some.first, share.floats(), gradient);
        });
        if (plan_.forth) Winograd::weight_gradient(parts, part, gradient);
    }

    void gradient_of_z(int64_t slot, int64_t n, const float* again, int64_t from, const Plane& dz) const {
        const float* of_g = work(slot) + plan_.slopes;
        kernels().conv.norm_pool_backward(pass(slot, n, again, from), gradient_of(slot, n),
                                          {of_g, of_g + plan_.lanes, of_g + 2 * plan_.lanes, block_.norm && !block_.given},
                                          dz.base, dz.row());
    }

    void plane(int64_t slot, int64_t n, float* memory, float* gradient) const {
        const float* z = again(slot, {n, n + 1}, memory);
        const Plane in = read_plane(block_, plan_, image(slot, n, memory), memory);
        const Plane dz = plan_.dz.over(memory + plan_.dz_at);
        dz.clear_border();
        gradient_of_z(slot, n, z, n, dz);
        for (int64_t i = 0; i < block_.kernel; ++i)
            kernels().conv.tap_outer({in.at(i - block_.top, -block_.left), plan_.row_depth, block_.stride * in.lanes,
                                      block_.stride * in.row(), dz.base, dz.lanes, dz.row(), dz.height, dz.width,
                                      dz.lanes, gradient + i * plan_.row_depth * plan_.lanes});
        if (!dx_) return;
        const Plane dx{image_dx(slot, n), block_.height, block_.width, 0, 0, plan_.in_lanes};
        plan_.conv.backward_data(dz, nullptr, work(slot) + plan_.transposed, 0, dx, true);
    }

    void winograd(int64_t slot, int64_t n, float* memory, float* parts) const {
        const float* z = again(slot, {n, n + 1}, memory);
        const Plane in = read_plane(block_, plan_, image(slot, n, memory), memory);
        const Plane dz = plan_.dz.over(memory + plan_.dz_at);
        gradient_of_z(slot, n, z, n, dz);
        plan_.forth->outer(in, block_.c_in, dz, parts, memory + plan_.transforms);
        if (!dx_) return;
        const Plane dx{image_dx(slot, n), block_.height, block_.width, 0, 0, plan_.in_lanes};
        plan_.back->convolve(dz, block_.c_out, work(slot) + plan_.transposed, dx, false, memory + plan_.transforms);
    }

    void patches(int64_t slot, Range images, float* memory, float* gradient) const {
        float *read = memory + plan_.patches, *dz = memory + plan_.dz_at, *dread = read;
        const float* z = again(slot, images, memory);
        for (int64_t n = images.first; n < images.last; ++n) {
            const int64_t i = n - images.first;
            read_patches(block_, plan_, read_plane(block_, plan_, image(slot, n, memory), memory),
                         read + i * plan_.pixels * plan_.depth);
            gradient_of_z(slot, n, z, images.first, plan_.dz.over(dz + i * plan_.dz.floats()));
        }
        const int64_t count = (images.last - images.first) * plan_.pixels, lanes = plan_.lanes;
        kernels().conv.tap_outer({read, plan_.depth, plan_.depth, 0, dz, lanes, 0, 1, count, lanes, gradient});
        if (!dx_) return;
        const int64_t width = block_.kernel * block_.kernel * plan_.in_lanes;
        const float *from[1] = {dz}, *weight[1] = {work(slot) + plan_.transposed};
        kernels().conv.tap_gemm({from, weight, 1, block_.c_out, lanes, 0, dread, width, 0, 1, count, width, false});
        for (int64_t n = images.first; n < images.last; ++n)
            add_patches(dread + (n - images.first) * plan_.pixels * width, image_dx(slot, n));
    }

    // The gradients of an image's patches, each added to the pixels that it was read from.
    void add_patches(const float* patches, float* dx) const {
        const ConvBlock& c = block_;
        const int64_t lanes = plan_.in_lanes;
        std::memset(dx, 0, static_cast<size_t>(c.height * c.width * lanes) * sizeof(float));
        for (int64_t r = 0; r < c.conv_height; ++r)
            for (int64_t w = 0; w < c.conv_width; ++w)
                for (int64_t i = 0; i < c.kernel; ++i, patches += c.kernel * lanes) {
                    const int64_t row = r * c.stride + i - c.top, column = w * c.stride - c.left;
                    const int64_t first = std::max<int64_t>(0, -column), last = std::min(c.kernel, c.width - column);
                    if (row < 0 || row >= c.height || first >= last) continue;
                    kernels().conv.add_gated(patches + first * lanes, nullptr, nullptr,
                                             dx + (row * c.width + column + first) * lanes, last - first, lanes);
                }
    }

    // Weight gradients of all chunks, in order.
    void gather(int64_t slot) {
        float* total = work(slot) + plan_.gradients;
        for (int64_t c = 1; c < plan_.chunks; ++c)
            for (int64_t k = 0; k < plan_.gradient; ++k) total[k] += total[c * plan_.gradient + k];
        plan_.unpack_gradient(total, dparams(slot));
    }

    const ConvBlock& block_;
    const Plan& plan_;
    const Before* before_;
    const float *saved_, *y_, *gy_;
    std::vector<Source> source_;
    float *dx_, *dparams_;
    int64_t first_ = 0;
    Block work_;
    Scratch scratch_;
    int threads_;
};

}  // namespace

void backward(const ConvBlock& block, const Plan& plan, const float* saved, const float* y, const Before* before,
              const float* gy, float* dx, float* dparams, const Team& team) {
    Backward(block, plan, saved, y, before, gy, dx, dparams, team).run(0, block.slots);
}

}  // namespace block

void conv_block_backward(const ConvBlock& given, const float* saved, const float* y, const float* gy, float* dx,
                         float* dparams) {
    const block::Plan plan(given);
    if (given.slots == 0) return;
    if (given.batch == 0) {
        for (int64_t slot = 0; slot < given.slots; ++slot)
            std::memset(dparams + slot * given.grad_row, 0, static_cast<size_t>(given.params_width) * sizeof(float));
        return;
    }
    for_all_slots(
        given.slots, team_of(given.slots, given.threads, plan.chunks, plan.kept + plan.back_work, 2 * plan.macs(given)),
        [&](const Team& team) {
            return std::make_unique<block::Backward>(given, plan, saved, y, nullptr, gy, dx, dparams, team);
        },
        [](block::Backward& worker, int64_t first, int64_t count) { worker.run(first, count); });
}

}  // namespace autometa
