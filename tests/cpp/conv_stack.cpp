// conv_stack against its parts: the blocks and the head called one after another give the same bits.
#include <algorithm>

#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

constexpr int64_t kClasses = 3;

autometa::ConvBlock block(int64_t slots, int64_t batch, int64_t c_in, int64_t c_out, int64_t height, int64_t width,
                          int64_t stride, bool pool) {
    const int64_t h = (height + stride - 1) / stride, w = (width + stride - 1) / stride;
    autometa::ConvBlock made{};
    made.slots = slots, made.batch = batch, made.c_in = c_in, made.c_out = c_out;
    made.height = height, made.width = width, made.kernel = 3, made.stride = stride, made.top = made.left = 1;
    made.conv_height = h, made.conv_width = w;
    made.out_height = pool ? h / 2 : h, made.out_width = pool ? w / 2 : w;
    made.params_width = aligned(9 * c_in * c_out) + 3 * aligned(c_out);
    made.bias = made.norm = made.relu = true, made.pool = pool, made.eps = 1e-3, made.threads = 1;
    return made;
}

struct Case {
    int64_t slots, batch;
    bool flatten;
    std::vector<autometa::ConvBlock> blocks;
    int64_t columns = 0, row = 0;
    Floats x, params, grad;

    Case(Random& random, int64_t slots, int64_t batch, bool flatten)
        : slots(slots), batch(batch), flatten(flatten) {
        blocks = {block(slots, batch, 2, 9, 13, 11, 2, false), block(slots, batch, 9, 17, 7, 6, 1, true),
                  block(slots, batch, 17, 4, 3, 3, 1, false)};
        columns = autometa::ConvStack(blocks, kClasses, flatten).columns();
        row = columns + 16;
        x = random.floats(slots * batch * 2 * 13 * 11);
        params = random.floats(slots * row);
        grad = random.floats(slots * batch * kClasses);
    }

    autometa::ConvStack::Input input(int threads) const {
        return {x.data(), {batch * 2 * 143, 2 * 143, 143, 11, 1}, params.data(), row, row, threads};
    }

    struct Result {
        Floats logits, dx, dparams;
    };

    Result run(int threads) const {
        const autometa::ConvStack stack(blocks, kClasses, flatten);
        Floats saved(size(stack.saved()), kNan), unkept(grad.size(), kNan), again(params.size(), kNan);
        Result found{Floats(grad.size(), kNan), Floats(size(slots * batch * 143 * 8), kNan),
                     Floats(params.size(), kNan)};
        stack.forward(input(threads), nullptr, unkept.data());
        stack.forward(input(threads), saved.data(), found.logits.data());
        stack.backward(input(threads), saved.data(), grad.data(), nullptr, again.data());
        stack.backward(input(threads), saved.data(), grad.data(), found.dx.data(), found.dparams.data());
        found.dx = channels_of(found.dx, 2);
        expect(same_bits(unkept, found.logits), "kept or not, the logits are the same");
        expect(same_bits(again, found.dparams), "with or without the gradient of the images");
        return found;
    }

    // The logits of the blocks and the head, each by its own entry point.
    Floats by_parts() const {
        Floats before = x;
        int64_t step[5] = {batch * 2 * 143, 2 * 143, 143, 11, 1}, column = 0;
        for (const autometa::ConvBlock& given : blocks) {
            autometa::ConvBlock own = given;
            own.x = before.data();
            std::copy(step, step + 5, own.x_step);
            own.params = params.data() + column, own.params_row = row;
            const int64_t pixel = autometa::padded_channels(own.c_out), image = own.out_height * own.out_width * pixel;
            Floats y(size(slots * batch * image), kNan);
            autometa::conv_block(own, y.data(), nullptr, nullptr);
            before = y;
            const int64_t next[5] = {batch * image, image, 1, own.out_width * pixel, pixel};
            std::copy(next, next + 5, step);
            column += own.params_width;
        }
        const autometa::ConvBlock& last = blocks.back();
        const int64_t features = last.c_out * (flatten ? last.out_height * last.out_width : 1);
        Floats logits(grad.size(), kNan), unused(size(slots * batch * features), kNan);
        autometa::linear_head({{before.data(), last.c_out, last.out_height, last.out_width}}, params.data() + column,
                              {slots, batch, kClasses, row, flatten}, unused.data(), logits.data(), 1);
        return logits;
    }
};

void test(Random& random, int64_t slots, int64_t batch, bool flatten) {
    Case own(random, slots, batch, flatten);
    const Case::Result found = own.run(1);
    expect(all_finite(found.logits) && all_finite(found.dx) && all_finite(found.dparams), "conv_stack is finite");
    expect(same_bits(found.logits, own.by_parts()), "conv_stack is its parts one after another");
    for (const int threads : {2, 4}) {
        const Case::Result again = own.run(threads);
        expect(same_bits(again.logits, found.logits) && same_bits(again.dx, found.dx) &&
                   same_bits(again.dparams, found.dparams), "conv_stack, threads");
    }
    own.row = own.columns - 16;
    expect_refusal([&] { own.run(1); }, "the network has");
}

// Without ReLU, so that a difference meets no kink.
void test_difference(Random& random) {
    Case own(random, 2, 3, true);
    for (autometa::ConvBlock& block : own.blocks) block.relu = false;
    const Floats along = random.floats(own.slots * own.row), dparams = own.run(1).dparams;
    const auto value = [&] { return dot(own.run(1).logits, own.grad); };
    expect(near(slope(own.params, along, value), dot(dparams, along), 0.02), "gradient of a stack's parameters");
}

}  // namespace

void test_conv_stack() {
    Random random(11);
    test(random, 1, 3, true);
    test(random, 5, 2, false);
    test(random, 9, 1, true);
    test_difference(random);
    std::vector<autometa::ConvBlock> blocks = {block(1, 1, 2, 9, 13, 11, 2, false), block(1, 1, 8, 4, 7, 6, 1, false)};
    expect_refusal([&] { autometa::ConvStack(blocks, kClasses, true); }, "does not fit the one before");
}

}  // namespace autometa_test
