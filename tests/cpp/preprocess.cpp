#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

struct Case {
    int64_t slots, batch, planes, depth, channels, height, width;
    bool reduce, affine, with_given;
    int64_t row = 0;
    std::vector<Floats> states{};
    Floats params{}, given{}, gy{};

    int64_t out(int64_t n) const { return reduce ? (n + 1) / 2 : n; }
    int64_t images() const { return slots * batch; }

    void fill(Random& random) {
        const int64_t all = planes * depth, half = reduce ? channels / 2 : 0;
        Integers counts{(channels - half) * all};
        if (reduce) counts.insert(counts.begin(), half * all);
        if (affine) counts.insert(counts.end(), {channels, channels});
        for (int64_t s = 0; s < slots; ++s)
            for (const int64_t count : counts) {
                const Floats values = random.floats(count);
                params.insert(params.end(), values.begin(), values.end());
                params.resize(size(aligned(static_cast<int64_t>(params.size()))), kNan);
            }
        row = static_cast<int64_t>(params.size()) / slots;
        for (int64_t j = 0; j < planes; ++j)
            states.push_back(random_activation(random, images(), height * width, depth));
        gy = random_activation(random, images(), out(height) * out(width), channels);
        given = random.floats(with_given ? slots * 2 * channels : 0);
        for (float& x : given) x = 1.0f + 0.5f * x;
    }

    Case slot(int64_t s) const {
        Case one = *this;
        one.slots = 1;
        for (Floats& x : one.states) x = piece(x, s, slots);
        for (Floats* x : {&one.params, &one.given, &one.gy}) *x = piece(*x, s, slots);
        return one;
    }

    struct Result {
        Floats y, statistics, dparams;
        std::vector<Floats> dstates;
        double value;
    };

    Result run(int threads) const {
        std::vector<const float*> in;
        for (const Floats& x : states) in.push_back(x.data());
        const autometa::Preprocess args{slots, batch, planes, depth, height, width, channels, in.data(),
                                        params.data(), row, row, with_given ? given.data() : nullptr, reduce, affine,
                                        1e-3, threads};
        Floats saved(size(autometa::preprocess_saved(args)), kNan), unkept(gy.size(), kNan);
        Result found{Floats(gy.size(), kNan), Floats(size(slots * 2 * channels), kNan), Floats(params.size(), kNan),
                     {}, 0};
        std::vector<autometa::StateGradient> to;
        for (const Floats& x : states) found.dstates.emplace_back(x.size(), kNan);
        for (Floats& x : found.dstates) to.push_back({x.data(), false});
        autometa::preprocess(args, unkept.data(), nullptr, nullptr);
        autometa::preprocess(args, found.y.data(), saved.data(), found.statistics.data());
        autometa::preprocess_backward(args, saved.data(), found.y.data(), gy.data(), to.data(), found.dparams.data());
        found.y = channels_of(found.y, channels);
        for (Floats& x : found.dstates) x = channels_of(x, depth);
        expect(same_bits(found.y, channels_of(unkept, channels)), "kept or not, y is the same");
        found.value = dot(found.y, channels_of(gy, channels));
        return found;
    }
};

bool same(const Case::Result& a, const Case::Result& b, int64_t s, int64_t slots) {
    bool agree = same_bits(a.y, piece(b.y, s, slots)) && same_bits(a.statistics, piece(b.statistics, s, slots)) &&
                 same_bits(a.dparams, piece(b.dparams, s, slots));
    for (size_t j = 0; j < a.dstates.size(); ++j)
        agree = agree && same_bits(a.dstates[j], piece(b.dstates[j], s, slots));
    return agree;
}

void test_laws(Random& random, Case all) {
    all.fill(random);
    const Case::Result found = all.run(1);
    bool finite = all_finite(found.y) && all_finite(found.dparams);
    for (const Floats& x : found.dstates) finite = finite && all_finite(x);
    expect(finite, "what is not a number stays outside");
    for (const int threads : {2, 4}) expect(same(all.run(threads), found, 0, 1), "preprocess, threads");
    for (int64_t s = 0; s < all.slots; ++s)
        expect(same(all.slot(s).run(2), found, s, all.slots), "preprocess of one slot");
    Case poisoned = all;
    for (float& x : poisoned.params) x = kNan;
    poisoned.run(1);
    expect(same(all.run(1), found, 0, 1), "preprocess reads nothing that an earlier call left behind");
    if (all.affine) {
        // y is linear in the last two parameters, gamma and beta.
        const int64_t two = 2 * aligned(all.channels);
        double linear = 0;
        for (int64_t s = 0; s < all.slots; ++s)
            for (int64_t k = all.row - two; k < all.row; ++k) {
                const size_t at = size(s * all.row + k);
                if (!std::isnan(all.params[at])) linear += static_cast<double>(all.params[at]) * found.dparams[at];
            }
        expect(near(linear, found.value, 1e-3), "y is linear in gamma and beta");
    }
    Case narrow = all;
    narrow.row -= 16;
    expect_refusal([&] { narrow.run(1); }, "too few parameters");
}

void test_difference(Random& random, bool reduce) {
    Case own{1, 4, 2, 9, 5, 7, 6, reduce, true, false};
    own.fill(random);
    const Case::Result found = own.run(1);
    const auto value = [&] { return own.run(1).value; };
    Floats along = random.floats(own.row);
    expect(near(slope(own.params, along, value), dot(found.dparams, along), 0.02), "gradient of the parameters");
    along = random.floats(static_cast<int64_t>(own.states[1].size()));
    expect(near(slope(own.states[1], along, value), dot(found.dstates[1], channels_of(along, 9)), 0.02),
           "gradient of a state");
}

}  // namespace

void test_preprocess() {
    Random random(6);
    for (const bool reduce : {false, true}) {
        test_difference(random, reduce);
        for (const bool affine : {false, true}) {
            test_laws(random, {3, 2, 3, 9, 9, 7, 6, reduce, affine, false});
            test_laws(random, {2, 20, 1, 4, 17, 8, 8, reduce, affine, false});
            test_laws(random, {2, 1, 2, 28, 2, 1, 5, reduce, affine, true});
            test_laws(random, {1, 2, 1, 1, 33, 3, 1, reduce, affine, false});
            test_laws(random, {1, 1, 1, 1, 1, 1, 1, reduce, affine, false});
        }
    }
}

}  // namespace autometa_test
