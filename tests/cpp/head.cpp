#include <utility>

#include "autometa.h"
#include "check.h"

namespace autometa_test {

using autometa::Activation;

namespace {

constexpr int64_t kClasses = 5;

// States of several widths and sizes, as many as a network may have.
struct Head {
    int64_t slots, batch;
    std::vector<Activation> shapes;
    std::vector<Floats> states;
    bool flatten;
    int64_t width = 0, row = 0;
    Floats params, grad;

    Head(Random& random, int64_t slots_, int64_t batch_, std::vector<Activation> shapes_, bool flatten_)
        : slots(slots_), batch(batch_), shapes(std::move(shapes_)), flatten(flatten_) {
        for (const Activation& shape : shapes) {
            states.push_back(random_activation(random, slots * batch, shape.pixels(), shape.channels));
            width += shape.channels * (flatten ? shape.pixels() : 1);
        }
        row = aligned(kClasses * width) + kClasses + 2;
        params = random.floats(slots * row);
        grad = random.floats(slots * batch * kClasses);
    }

    struct Result {
        Floats features, logits, dparams;
        std::vector<Floats> dstates;
    };
    Result run(int threads) {
        Result found{Floats(size(slots * batch * width), kNan), Floats(size(slots * batch * kClasses), kNan),
                     Floats(size(slots * row), kNan), {}};
        std::vector<Activation> in = shapes, out = shapes;
        for (size_t j = 0; j < shapes.size(); ++j) {
            found.dstates.emplace_back(states[j].size(), kNan);
            in[j].data = states[j].data();
        }
        for (size_t j = 0; j < shapes.size(); ++j) out[j].data = found.dstates[j].data();
        const autometa::HeadShape shape{slots, batch, kClasses, row, flatten};
        autometa::linear_head(in, params.data(), shape, found.features.data(), found.logits.data(), threads);
        autometa::linear_head_backward(grad.data(), found.features.data(), params.data(), shape, found.dparams.data(),
                                       row, row, out, threads);
        return found;
    }
    Head slot(int64_t s) const {
        Head one = *this;
        one.slots = 1;
        for (Floats& x : one.states) x = piece(x, s, slots);
        one.params = piece(params, s, slots);
        one.grad = piece(grad, s, slots);
        return one;
    }
};

void test_laws(Head head) {
    const Head::Result found = head.run(1);
    Floats used = head.params;
    const int64_t bias = aligned(kClasses * head.width);
    double of_bias = 0;
    for (int64_t s = 0; s < head.slots; ++s)
        for (int64_t n = 0; n < head.batch; ++n)
            for (int64_t k = 0; k < kClasses; ++k)
                of_bias += static_cast<double>(head.grad[size((s * head.batch + n) * kClasses + k)]) *
                           head.params[size(s * head.row + bias + k)];
    expect(all_finite(found.logits) && all_finite(found.dparams), "linear_head is finite");
    const double value = dot(found.logits, head.grad);
    expect(near(dot(found.dparams, used), value, 1e-4), "logits are linear in the parameters");
    double of_states = 0;
    for (size_t j = 0; j < head.states.size(); ++j)
        of_states += dot(channels_of(head.states[j], head.shapes[j].channels),
                         channels_of(found.dstates[j], head.shapes[j].channels));
    expect(near(of_states, value - of_bias, 1e-4), "logits are linear in the states");
    const Head::Result again = head.run(3);
    expect(same_bits(found.logits, again.logits) && same_bits(found.dparams, again.dparams), "linear_head, threads");
    for (int64_t s = 0; s < head.slots; ++s) {
        const Head::Result alone = head.slot(s).run(2);
        expect(same_bits(alone.logits, piece(found.logits, s, head.slots)) &&
                   same_bits(alone.dparams, piece(found.dparams, s, head.slots)) &&
                   same_bits(alone.dstates[0], piece(found.dstates[0], s, head.slots)),
               "linear_head of one slot");
    }
}

void test_cross_entropy() {
    const autometa::LogitShape shape{3, 4, kClasses};
    Random random(3);
    const Floats logits = random.floats(3 * 4 * kClasses), grad{1.0f, -2.0f, 0.5f};
    const Integers labels{0, 4, 2, 1, 3, 3, 0, 1, 2, 2, 4, 0};
    Floats losses(3, kNan), again(3, kNan), found(logits.size(), kNan), zeros(logits.size());
    autometa::cross_entropy(logits.data(), labels.data(), shape, losses.data(), 1);
    autometa::cross_entropy(logits.data(), labels.data(), shape, again.data(), 3);
    expect(same_bits(losses, again), "cross_entropy, threads");
    autometa::cross_entropy_backward(grad.data(), logits.data(), labels.data(), shape, found.data(), 2);
    for (int64_t n = 0; n < 12; ++n) {
        double sum = 0;
        for (int64_t k = 0; k < kClasses; ++k) sum += found[size(n * kClasses + k)];
        expect(std::fabs(sum) < 1e-6, "gradients of an image's logits add up to 0");
    }
    autometa::cross_entropy(zeros.data(), labels.data(), shape, losses.data(), 1);
    expect(near(losses[1], std::log(5.0), 1e-6), "the loss of equal logits");
}

}  // namespace

void test_head() {
    Random random(2);
    for (const bool flatten : {false, true}) {
        test_laws(Head(random, 3, 2, {{nullptr, 28, 7, 7}, {nullptr, 28, 7, 7}}, flatten));
        test_laws(Head(random, 1, 3, {{nullptr, 1, 1, 1}, {nullptr, 9, 3, 1}, {nullptr, 17, 1, 5}}, flatten));
    }
    test_cross_entropy();
}

void test_activations() {
    Random random(4);
    const Floats a = random.floats(6 * 35 * 16), b = random.floats(6 * 35 * 16), c = random.floats(6 * 35 * 16);
    Floats out(a.size(), kNan), again(a.size(), kNan);
    autometa::sum_activations({a.data(), b.data(), c.data()}, out.data(), 6, {nullptr, 9, 5, 7}, 1);
    autometa::sum_activations({a.data(), b.data(), c.data()}, again.data(), 6, {nullptr, 9, 5, 7}, 3);
    bool sums = true;
    for (size_t i = 0; i < a.size(); ++i) sums = sums && std::fabs(out[i] - (a[i] + b[i] + c[i])) < 1e-6f;
    expect(sums && same_bits(out, again), "sum_activations");

    Floats joined(4 * 8, kNan);
    autometa::join_columns({{a.data(), 5, 3}, {nullptr, 0, 2}, {b.data(), 7, 3}}, joined.data(), 4, 8, 2);
    expect(joined[size(8 * 3)] == a[15] && joined[size(8 * 3 + 4)] == 0.0f && joined[size(8 * 3 + 7)] == b[23],
           "join_columns");
}

}  // namespace autometa_test
