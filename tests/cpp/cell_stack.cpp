#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

using autometa::CellStack;

constexpr int64_t kBatch = 3, kImages = 2, kFilters = 3, kClasses = 4, kHeight = 7, kWidth = 6;
enum { kSkip = 1, kMaxPool = 2, kPair = 9, kFull = 11 };

// Columns of parameters, block after block.
struct Columns {
    int64_t end = 0;
    int64_t take(const Integers& counts) {
        const int64_t at = end;
        for (const int64_t count : counts) end += aligned(count);
        return at;
    }
};

const int64_t kStem = aligned(9 * kImages * kFilters) + 2 * aligned(kFilters);
const int64_t kPre = aligned(kFilters * kFilters) + 2 * aligned(kFilters);

// Reads the stem twice and puts out one block, or (`wide`) two.
CellStack network(bool wide) {
    Columns columns;
    columns.take({kStem});
    std::vector<CellStack::Step> steps;
    for (int64_t p = 0; p < 2; ++p) {
        const int64_t at = columns.take({kPre});
        steps.push_back({false, at, kPre, kFilters, false, {0}, {}});
    }
    const int64_t full = aligned(9 * kFilters * kFilters) + 2 * aligned(kFilters), pool = 2 * aligned(kFilters);
    const int64_t node = columns.take({full + pool});
    steps.push_back({true, node, full + pool, kFilters, false, {1, 2}, {0, 0, kFull, 2, 0, 1, 1, kMaxPool, 2, full}});
    Integers outputs{3};
    if (wide) {
        const int64_t pair = 2 * aligned(5 * kFilters * kFilters) + 2 * aligned(kFilters);
        const int64_t at = columns.take({pair});
        steps.push_back({true, at, pair, kFilters, false, {3}, {0, 0, kPair, 1, 0, 0, 1, kSkip, 1, pair}});
        outputs.push_back(4);
    }
    const int64_t features = kFilters * static_cast<int64_t>(outputs.size());
    const int64_t head = aligned(features * kClasses) + aligned(kClasses), at = columns.take({head});
    const autometa::ConvBlock stem{1, kBatch, kImages, kFilters, kHeight, kWidth, 3, 1, 1, 1, kHeight, kWidth, kHeight,
                                   kWidth, nullptr, {}, nullptr, 0, kStem, 0, nullptr, false, true, false, false, 1e-2,
                                   1};
    return CellStack(stem, 0, steps, {false, at, head, kClasses, false, outputs, {}}, kClasses);
}

struct Result {
    Floats losses, logits, dparams;
};

struct Slots {
    std::vector<const CellStack*> stacks;
    int64_t row;
    Floats x, params;
    Integers labels;

    Result run(int threads, bool gradient = true) const {
        const int64_t slots = static_cast<int64_t>(stacks.size()), image = kImages * kHeight * kWidth;
        const CellStack::Input input{x.data(), {kBatch * image, image, kHeight * kWidth, kWidth, 1}, labels.data(),
                                     params.data(), row};
        Result found{Floats(size(slots), kNan), Floats(size(slots * kBatch * kClasses), kNan),
                     Floats(size(slots * row), kNan)};
        autometa::cell_stack(stacks, input, found.losses.data(), found.logits.data(),
                             gradient ? found.dparams.data() : nullptr, row, threads);
        return found;
    }
    Slots slot(int64_t s) const {
        const int64_t count = static_cast<int64_t>(stacks.size());
        return {{stacks[size(s)]}, row, piece(x, s, count), piece(params, s, count), piece(labels, s, count)};
    }
};

void test_laws(Random& random, const CellStack& narrow, const CellStack& wide) {
    Slots all{{&wide, &narrow, &narrow, &wide, &narrow}, wide.columns() + 16, {}, {}, {}};
    all.x = random.floats(5 * kBatch * kImages * kHeight * kWidth);
    all.params = random.floats(5 * all.row);
    for (int64_t i = 0; i < 5 * kBatch; ++i) all.labels.push_back(i % kClasses);
    const Result found = all.run(1);
    expect(all_finite(found.losses) && all_finite(found.logits) && all_finite(found.dparams), "cell_stack is finite");
    for (const int threads : {2, 4}) {
        const Result again = all.run(threads);
        expect(same_bits(again.logits, found.logits) && same_bits(again.dparams, found.dparams), "cell_stack, threads");
    }
    const Result forward = all.run(2, false);
    expect(same_bits(forward.losses, found.losses) && same_bits(forward.logits, found.logits), "without gradients");
    for (int64_t s = 0; s < 5; ++s) {
        const Result alone = all.slot(s).run(1);
        expect(same_bits(alone.losses, piece(found.losses, s, 5)) &&
                   same_bits(alone.dparams, piece(found.dparams, s, 5)),
               "cell_stack of one slot");
    }
    for (const int64_t s : {0, 1}) {
        Slots one = all.slot(s);
        const Floats along = random.floats(one.row);
        const auto value = [&] { return static_cast<double>(one.run(1).losses[0]); };
        const double measured = slope(one.params, along, value);
        expect(near(measured, dot(piece(found.dparams, s, 5), along), 0.05), "cell_stack, gradient");
    }
    Slots poisoned = all;
    for (int64_t k = 0; k < all.row; ++k) poisoned.params[size(k)] = kNan;
    const Result beside = poisoned.run(2);
    expect(!all_finite(piece(beside.dparams, 0, 5)), "what is not a number stays visible");
    expect(same_bits(piece(beside.dparams, 1, 5), piece(found.dparams, 1, 5)), "neighbours do not matter");
    Slots short_rows = all;
    short_rows.row = wide.columns() - 16;
    expect_refusal([&] { short_rows.run(1); }, "too few parameters");
}

// Slots that read different states through a table do as each does alone.
void test_tables(Random& random) {
    const int64_t slots = 3, channels = 4, pixels = 5 * 6;
    const Integers table{0, channels, -1, -1, -1, 0, -1, -1, -1}, of_slot{1, 0, 2};
    const int64_t row = aligned(2 * channels * 3) + 2 * aligned(3);
    std::vector<Floats> states;
    for (int j = 0; j < 3; ++j) states.push_back(random_activation(random, slots * kBatch, pixels, channels));
    const Floats params = random.floats(slots * row), gy = random_activation(random, slots * kBatch, pixels, 3);
    const auto run = [&](int64_t first, int64_t count, const Integers& reads, bool by_table, int threads) {
        std::vector<const float*> in;
        std::vector<Floats> dstates;
        for (const int64_t j : reads) {
            in.push_back(states[size(j)].data() + first * kBatch * pixels * 8);
            dstates.emplace_back(size(count * kBatch * pixels * 8), kNan);
        }
        autometa::Preprocess args{count, kBatch, static_cast<int64_t>(in.size()), channels, 5, 6, 3, in.data(),
                                  params.data() + first * row, row, row, nullptr, false, true, 1e-3, threads};
        if (by_table) args.tables = 3, args.table = table.data(), args.table_of_slot = of_slot.data();
        Floats y(size(count * kBatch * pixels * 8), kNan), saved(size(autometa::preprocess_saved(args)), kNan);
        Floats dparams(size(count * row), kNan);
        std::vector<autometa::StateGradient> to;
        for (Floats& x : dstates) to.push_back({x.data(), false});
        autometa::preprocess(args, y.data(), saved.data(), nullptr);
        autometa::preprocess_backward(args, saved.data(), y.data(), gy.data() + first * kBatch * pixels * 8, to.data(),
                                      dparams.data());
        Floats all = channels_of(y, 3);
        all.insert(all.end(), dparams.begin(), dparams.end());
        return all;
    };
    const auto of = [&](const Floats& all, int64_t s) {
        const int64_t values = kBatch * pixels * 3;
        Floats found(all.begin() + s * values, all.begin() + (s + 1) * values);
        const auto d = all.begin() + slots * values + s * row;
        found.insert(found.end(), d, d + row);
        return found;
    };
    for (const int threads : {1, 2}) {
        const Floats together = run(0, slots, {0, 1, 2}, true, threads);
        expect(same_bits(of(together, 0), run(0, 1, {2}, false, 1)), "a slot that reads one state");
        expect(same_bits(of(together, 1), run(1, 1, {0, 1}, false, 1)), "a slot that reads two states");
        for (const float value : of(together, 2)) expect(value == 0.0f, "a slot that reads nothing is 0");
    }
}

}  // namespace

void test_cell_stack() {
    Random random(11);
    const CellStack narrow = network(false), wide = network(true);
    test_laws(random, narrow, wide);
    test_tables(random);
}

}  // namespace autometa_test
