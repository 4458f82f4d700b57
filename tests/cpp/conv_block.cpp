#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

struct Case {
    int64_t slots, batch, c_in, c_out, height, width, kernel, stride;
    bool bias, norm, relu, pool, with_given;
    int64_t row = 0;
    Floats x{}, params{}, given{}, gy{};

    int64_t conv(int64_t n) const { return (n + stride - 1) / stride; }
    int64_t out(int64_t n) const { return pool ? (conv(n) + 1) / 2 : conv(n); }
    int64_t images() const { return slots * batch; }

    void fill(Random& random) {
        Integers counts{c_out * c_in * kernel * kernel};
        if (bias) counts.push_back(c_out);
        if (norm) counts.insert(counts.end(), {c_out, c_out});
        for (int64_t s = 0; s < slots; ++s)
            for (const int64_t count : counts) {
                const Floats values = random.floats(count);
                params.insert(params.end(), values.begin(), values.end());
                params.resize(size(aligned(static_cast<int64_t>(params.size()))), kNan);
            }
        row = static_cast<int64_t>(params.size()) / slots;
        x = random.floats(images() * c_in * height * width);
        gy = random_activation(random, images(), out(height) * out(width), c_out);
        given = random.floats(with_given ? slots * 2 * c_out : 0);
        for (float& value : given) value = 1.0f + 0.5f * value;
    }

    Case slot(int64_t s) const {
        Case one = *this;
        one.slots = 1;
        for (Floats* values : {&one.x, &one.params, &one.given, &one.gy}) *values = piece(*values, s, slots);
        return one;
    }

    autometa::ConvBlock block(int threads) const {
        const int64_t pixels = height * width, top = (kernel - 1) / 2;
        return {slots, batch, c_in, c_out, height, width, kernel, stride, top, top, conv(height), conv(width),
                out(height), out(width), x.data(), {batch * c_in * pixels, c_in * pixels, pixels, width, 1},
                params.data(), row, row, row, with_given ? given.data() : nullptr, bias, norm, relu, pool, 1e-3, threads};
    }

    struct Result {
        Floats y, statistics, dx, dparams;
        double value;
    };

    Result run(int threads) const {
        const autometa::ConvBlock args = block(threads);
        Floats saved(size(autometa::conv_block_saved(args)), kNan), unkept(gy.size(), kNan);
        Floats again(params.size(), kNan);
        const int64_t lanes = autometa::padded_channels(c_in);
        Result found{Floats(gy.size(), kNan), Floats(size(norm ? slots * 2 * c_out : 0), kNan),
                     Floats(size(images() * height * width * lanes), kNan), Floats(params.size(), kNan), 0};
        autometa::conv_block(args, unkept.data(), nullptr, nullptr);
        autometa::conv_block(args, found.y.data(), saved.data(), norm ? found.statistics.data() : nullptr);
        autometa::conv_block_backward(args, saved.data(), found.y.data(), gy.data(), nullptr, again.data());
        autometa::conv_block_backward(args, saved.data(), found.y.data(), gy.data(), found.dx.data(),
                                      found.dparams.data());
        found.y = channels_of(found.y, c_out);
        found.dx = channels_of(found.dx, c_in);
        expect(same_bits(found.y, channels_of(unkept, c_out)), "kept or not, y is the same");
        expect(same_bits(found.dparams, again), "with or without the gradient of the images");
        found.value = dot(found.y, channels_of(gy, c_out));
        return found;
    }
};

bool same(const Case::Result& a, const Case::Result& b, int64_t s, int64_t slots) {
    return same_bits(a.y, piece(b.y, s, slots)) && same_bits(a.statistics, piece(b.statistics, s, slots)) &&
           same_bits(a.dparams, piece(b.dparams, s, slots)) && same_bits(a.dx, piece(b.dx, s, slots));
}

void test_laws(Random& random, Case all) {
    all.fill(random);
    const Case::Result found = all.run(1);
    expect(all_finite(found.y) && all_finite(found.dparams) && all_finite(found.dx), "conv_block is finite");
    for (const int threads : {2, 4}) expect(same(all.run(threads), found, 0, 1), "conv_block, threads");
    for (int64_t s = 0; s < all.slots; ++s)
        expect(same(all.slot(s).run(2), found, s, all.slots), "conv_block of one slot");
    Case poisoned = all;
    for (float& x : poisoned.params) x = kNan;
    poisoned.run(1);
    expect(same(all.run(1), found, 0, 1), "conv_block reads nothing that an earlier call left behind");
    if (!all.norm) {
        // Without normalisation y is homogeneous of degree 1 in all parameters, whatever the ReLU and the pool choose.
        Floats used = all.params;
        for (float& x : used) x = std::isnan(x) ? 0.0f : x;
        expect(near(dot(found.dparams, used), found.value, 1e-3), "y is homogeneous in the parameters");
    }
    Case narrow = all;
    narrow.row -= 16;
    expect_refusal([&] { narrow.run(1); }, "too few parameters");
}

void test_difference(Random& random, Case own) {
    own.fill(random);
    const Case::Result found = own.run(1);
    const auto value = [&] { return own.run(1).value; };
    Floats along = random.floats(own.row);
    expect(near(slope(own.params, along, value), dot(found.dparams, along), 0.02), "gradient of the parameters");
    along = random.floats(static_cast<int64_t>(own.x.size()));
    const int64_t pixels = own.height * own.width;
    double due = 0;
    for (int64_t n = 0; n < own.images(); ++n)
        for (int64_t c = 0; c < own.c_in; ++c)
            for (int64_t p = 0; p < pixels; ++p)
                due += static_cast<double>(along[size((n * own.c_in + c) * pixels + p)]) *
                       found.dx[size((n * pixels + p) * own.c_in + c)];
    expect(near(slope(own.x, along, value), due, 0.02), "gradient of the images");
}

}  // namespace

void test_conv_block() {
    Random random(7);
    // slots, batch, c_in, c_out, height, width, kernel, stride; bias, norm, relu, pool, given
    test_laws(random, {3, 2, 1, 28, 9, 8, 3, 1, false, true, false, false, false});
    test_laws(random, {2, 3, 9, 4, 7, 6, 3, 1, true, true, true, true, false});
    test_laws(random, {2, 2, 3, 17, 8, 9, 3, 2, true, false, true, false, false});
    test_laws(random, {2, 20, 8, 8, 4, 4, 3, 1, true, true, true, true, false});
    test_laws(random, {1, 5, 64, 33, 3, 2, 3, 1, true, true, true, false, true});
    test_laws(random, {1, 1, 2, 1, 11, 5, 5, 2, false, false, false, true, false});
    test_laws(random, {2, 1, 1, 1, 1, 1, 3, 1, true, true, true, false, false});
    test_laws(random, {2, 3, 20, 17, 7, 9, 3, 1, true, true, true, true, false});
    test_laws(random, {1, 2, 16, 32, 15, 38, 3, 1, true, false, true, false, false});
    test_laws(random, {1, 20, 3, 7, 28, 28, 3, 1, true, true, true, true, false});
    test_difference(random, {1, 3, 3, 5, 7, 6, 3, 1, true, true, true, false, false});
    test_difference(random, {1, 2, 16, 18, 8, 9, 3, 1, true, true, true, false, false});
    test_difference(random, {1, 3, 2, 4, 9, 9, 3, 2, true, false, true, false, false});
}

}  // namespace autometa_test
