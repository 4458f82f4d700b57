#include <thread>
#include <utility>

#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

constexpr int64_t kSkip = 1, kMaxPool = 2, kAvgPool = 3, kConv3 = 4, kSep3 = 7, kCodes = 12, kColumns = 5;

// Sizes of a primitive's parameters, without gamma and beta, by stage.
std::vector<Integers> parameters(int64_t code, int64_t stride, int64_t c) {
    const auto separable = [c](int64_t kernel) { return Integers{c * kernel * kernel, c * c}; };
    switch (code) {
        case kSkip: return stride == 1 ? std::vector<Integers>{} : std::vector<Integers>{{c / 2 * c, (c - c / 2) * c}};
        case kMaxPool:
        case kAvgPool: return {{}};
        case kConv3:
        case 5: return {separable(3)};
        case 6: return {separable(5)};
        case kSep3: return {separable(3), separable(3)};
        case 8: return {separable(5), separable(5)};
        case 9: return {{5 * c * c, 5 * c * c}};
        case 10: return {{7 * c * c, 7 * c * c}};
        case 11: return {{9 * c * c}};
        default: return {};
    }
}

struct Settings {
    int64_t slots, batch, channels, height, width, stride;
    bool affine, drop, given;
    std::vector<Integers> tables;  // of primitives, -1 for none; each instance reads state and edge `number % 2`
};

struct Case {
    Settings of;
    int64_t instances, params_width = 0;
    Integers sizes, table, table_of_slot;
    std::vector<Floats> states;
    Floats params, op_weight, input_weight, drop, given, gy;

    Case(Random& random, Settings settings) : of(std::move(settings)) {
        instances = static_cast<int64_t>(of.tables[0].size());
        sizes = {of.height, of.width, halved(of.height), halved(of.width)};
        lay_out(random);
        for (int64_t s = 0; s < of.slots; ++s) table_of_slot.push_back(s % static_cast<int64_t>(of.tables.size()));
        for (int64_t j = 0; j < 2; ++j)
            states.push_back(random_activation(random, images(), sizes[size(2 * j)] * sizes[size(2 * j + 1)],
                                               of.channels));
        gy = random_activation(random, images(), sizes[2] * sizes[3], of.channels);
        op_weight = random.floats(of.slots * instances);
        if (instances > 2) op_weight[1] = 0.0f;
        input_weight = random.floats(of.slots * 2);
        drop = random.floats(of.drop ? images() * instances : 0);
        for (float& x : drop) x = x < -0.5f ? 0.0f : 1.5f;
        given = random.floats(of.given ? of.slots * instances * 4 * of.channels : 0);
        for (float& x : given) x = 1.0f + 0.5f * x;
    }

    int64_t images() const { return of.slots * of.batch; }
    int64_t halved(int64_t n) const { return (n + of.stride - 1) / of.stride; }

    // Parameters one after another; what lies between them is not a number.
    void lay_out(Random& random) {
        std::vector<bool> used;
        for (const Integers& codes : of.tables) {
            int64_t at = 0;
            for (int64_t i = 0; i < instances; ++i) {
                const int64_t stride = i % 2 == 0 ? of.stride : 1;
                table.insert(table.end(), {i % 2, i % 2, codes[size(i)], stride, at});
                for (Integers stage : parameters(codes[size(i)], stride, of.channels)) {
                    if (of.affine) stage.insert(stage.end(), {of.channels, of.channels});
                    for (const int64_t count : stage) {
                        used.resize(std::max(used.size(), size(at + aligned(count))));
                        for (int64_t k = 0; k < count; ++k) used[size(at + k)] = true;
                        at += aligned(count);
                    }
                }
            }
            params_width = std::max(params_width, at);
        }
        params.assign(size(of.slots * params_width), kNan);
        for (size_t i = 0; i < params.size(); ++i)
            if (used[i % used.size()]) params[i] = random();
    }

    Case slot(int64_t s) const {
        Case one = *this;
        one.of.slots = 1;
        one.table_of_slot = {table_of_slot[size(s)]};
        for (Floats* x : {&one.states[0], &one.states[1], &one.params, &one.op_weight, &one.input_weight, &one.drop,
                          &one.given, &one.gy})
            *x = piece(*x, s, of.slots);
        return one;
    }

    struct Result {
        Floats y, statistics, dparams, dop, dinput;
        std::vector<Floats> dstates;
        double value = 0;  // sum of y * gy
    };

    template <class Act>
    auto with_node(int threads, const Act& act) const {
        const float* of_state[] = {states[0].data(), states[1].data()};
        const autometa::Node node{
            of.slots, of.batch, of.channels, 2, instances, 2, static_cast<int64_t>(of.tables.size()), sizes.data(),
            of_state, params.data(), params_width, params_width, op_weight.data(), input_weight.data(), table.data(),
            table_of_slot.data(), of.drop ? drop.data() : nullptr, of.given ? given.data() : nullptr, of.affine, 1e-3,
            threads};
        return act(node);
    }

    Result run(int threads) const {
        return with_node(threads, [&](const autometa::Node& node) {
            Result found;
            Floats saved(size(autometa::mixed_op_saved(node)), kNan), unkept(gy.size(), kNan);
            found.y.assign(gy.size(), kNan);
            found.statistics.assign(size(of.slots * instances * 4 * of.channels), kNan);
            found.dparams.assign(params.size(), kNan);
            found.dop.assign(op_weight.size(), kNan);
            found.dinput.assign(input_weight.size(), kNan);
            for (const Floats& x : states) found.dstates.emplace_back(x.size(), kNan);
            const autometa::StateGradient to[] = {{found.dstates[0].data(), false}, {found.dstates[1].data(), false}};
            autometa::mixed_op(node, unkept.data(), nullptr, nullptr);
            autometa::mixed_op(node, found.y.data(), saved.data(), found.statistics.data());
            autometa::mixed_op_backward(node, saved.data(), gy.data(), to, found.dparams.data(), found.dop.data(),
                                        found.dinput.data());
            found.y = channels_of(found.y, of.channels);
            for (Floats& x : found.dstates) x = channels_of(x, of.channels);
            expect(same_bits(found.y, channels_of(unkept, of.channels)), "kept or not, y is the same");
            found.value = dot(found.y, channels_of(gy, of.channels));
            return found;
        });
    }
};

bool same(const Case::Result& a, const Case::Result& b, int64_t s, int64_t slots) {
    const auto agree = [&](const Floats& x, const Floats& whole) { return same_bits(x, piece(whole, s, slots)); };
    return agree(a.y, b.y) && agree(a.statistics, b.statistics) && agree(a.dparams, b.dparams) &&
           agree(a.dop, b.dop) && agree(a.dinput, b.dinput) && agree(a.dstates[0], b.dstates[0]) &&
           agree(a.dstates[1], b.dstates[1]);
}

// Laws that hold for every node.
void test_laws(const Case& all) {
    const int64_t slots = all.of.slots;
    const Case::Result found = all.run(1);
    expect(all_finite(found.y) && all_finite(found.dparams) && all_finite(found.dstates[0]) &&
               all_finite(found.dstates[1]),
           "what is not a number stays outside");
    expect(near(dot(found.dop, all.op_weight), found.value, 1e-3), "y is linear in the weights of the operations");
    expect(near(dot(found.dinput, all.input_weight), found.value, 1e-3), "y is linear in the weights of the inputs");
    expect(all.op_weight[1] != 0.0f || found.dop[1] == 0.0f, "what is pruned has no gradient");
    for (const int threads : {2, 4}) expect(same(all.run(threads), found, 0, 1), "mixed_op, threads");
    for (int64_t s = 0; s < slots; ++s) expect(same(all.slot(s).run(2), found, s, slots), "mixed_op of one slot");
    Case poisoned = all;
    for (float& x : poisoned.params) x = kNan;
    poisoned.run(1);
    expect(same(all.run(1), found, 0, 1), "mixed_op reads nothing that an earlier call left behind");
}

const Integers kAll{kMaxPool, kConv3, kAvgPool, kSep3, kSkip, 9, 5, 6, 8, 10, 11, kSkip};
const Integers kOther{11, -1, 0, kMaxPool, kSep3, kSkip, kAvgPool, 8, kSkip, kConv3, 9, kMaxPool};

void test_one_hot(Random& random) {
    Case chosen(random, {2, 2, 9, 5, 4, 1, false, false, false, {kAll}});
    for (int64_t s = 0; s < 2; ++s)
        for (int64_t i = 0; i < chosen.instances; ++i) chosen.op_weight[size(s * chosen.instances + i)] = i == 4;
    for (float& x : chosen.input_weight) x = 1.0f;
    for (float& x : chosen.params) x = kNan;
    const Case::Result found = chosen.run(2);
    expect(same_bits(found.y, channels_of(chosen.states[0], 9)), "one-hot weights on the identity give the state");
    expect(same_bits(found.dstates[0], channels_of(chosen.gy, 9)), "the identity hands its gradient on");
    for (float& x : chosen.op_weight) x = 0.0f;
    const int64_t kept = chosen.with_node(1, [](const autometa::Node& node) { return autometa::mixed_op_saved(node); });
    const Case::Result nothing = chosen.run(2);
    expect(kept == 0 && dot(nothing.y, nothing.y) == 0 && dot(nothing.dparams, nothing.dparams) == 0, "all pruned");
}

// Normalisation takes the mean out of the gradient, and a weight's scale out of the result.
void test_invariance(Random& random) {
    Case pool(random, {1, 3, 8, 6, 7, 2, false, false, false, {{kMaxPool}}});
    const Case::Result found = pool.run(1);
    double sum = 0, length = 0;
    for (const float x : found.dstates[0]) sum += x, length += std::fabs(x);
    expect(std::fabs(sum) < 1e-5 * length, "the gradient of a normalised pool adds up to 0");
}

// A central difference along a direction.
void test_difference(Random& random, int64_t code, int64_t stride) {
    Case own(random, {1, 4, 3, 9, 8, stride, true, false, false, {{code, -1}}});
    own.op_weight[0] = 1.0f;
    const Case::Result found = own.run(1);
    const auto value = [&] { return own.run(1).value; };
    const Floats along = random.floats(static_cast<int64_t>(own.params.size()));
    expect(near(slope(own.params, along, value), dot(found.dparams, along), 0.02),
           "gradient of the parameters of " + std::to_string(code));
    const Floats way = random.floats(static_cast<int64_t>(own.states[0].size()));
    expect(near(slope(own.states[0], way, value), dot(found.dstates[0], channels_of(way, 3)), 0.02),
           "gradient of the state of " + std::to_string(code));
}

void test_refusals(Random& random) {
    const Case good(random, {2, 1, 4, 4, 4, 1, false, false, false, {kAll}});
    const auto refuse = [&](int64_t row, int64_t column, int64_t value, const char* word) {
        Case bad = good;
        bad.table[size(row * kColumns + column)] = value;
        expect_refusal([&] { bad.run(1); }, word);
    };
    refuse(0, 0, 2, "state");
    refuse(3, 1, -1, "edge");
    refuse(3, 2, kCodes, "primitive");
    refuse(0, 3, 3, "stride");
    refuse(0, 3, 2, "different sizes");
    refuse(3, 4, -16, "outside");
    refuse(3, 4, int64_t{1} << 40, "outside");
    Case lost = good;
    lost.table_of_slot[1] = 1;
    expect_refusal([&] { lost.run(1); }, "table_of_slot");
}

}  // namespace

void test_mixed_op() {
    Random random(5);
    for (const int64_t stride : {1, 2}) {
        test_laws(Case(random, {3, 2, 9, 7, 6, stride, false, false, false, {kAll, kOther}}));
        test_laws(Case(random, {2, 20, 4, 8, 8, stride, true, true, false, {kOther, kAll}}));
        test_laws(Case(random, {2, 1, 17, 1, 5, stride, true, false, true, {kAll}}));
        test_laws(Case(random, {1, 2, 33, 3, 1, stride, false, true, false, {kOther}}));
        test_laws(Case(random, {1, 1, 1, 1, 1, stride, true, false, false, {kAll}}));
        for (const int64_t code : {kMaxPool, kAvgPool, kConv3, int64_t{9}, int64_t{11}, kSkip})
            test_difference(random, code, stride);
    }
    test_laws(Case(random, {1, 2, 17, 31, 9, 1, true, false, false, {{11, 11, 8}}}));  // bands of Winograd's products
    test_laws(Case(random, {40, 2, 28, 4, 4, 1, false, false, false, {kAll}}));
    test_one_hot(random);
    test_invariance(random);
    test_refusals(random);
    const Case shared(random, {3, 6, 8, 6, 6, 1, false, false, false, {kAll}});
    const Case::Result due = shared.run(1);
    std::thread other([&] { expect(same(shared.run(3), due, 0, 1), "beside another caller"); });
    expect(same(shared.run(3), due, 0, 1), "beside another caller");
    other.join();
}

}  // namespace autometa_test
