// A stack of conv blocks with its head: every slot goes through all of it, in one call.
#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "../conv_block/plan.h"
#include "autometa.h"

namespace autometa {

// Shapes, and where the parts of a row and of the kept memory begin.
class ConvStack::Plan {
public:
    Plan(const std::vector<ConvBlock>& blocks, int64_t classes, bool flatten) : classes(classes), flatten(flatten) {
        if (blocks.empty()) throw std::invalid_argument("conv_stack: a stack needs a block");
        Layout kept_memory;
        for (const ConvBlock& given : blocks) {
            ConvBlock block = given;
            block.given = nullptr;
            std::fill_n(block.x_step, 5, 0);  // the first block's are the input's, which differ from call to call
            if (!layers.empty()) follow(layers.back().block, block);
            const bool again = !layers.empty() && !layers.back().plan.in_y;
            Layer layer{block, block::Plan(block, again), columns, 0, -1, 0};
            columns += block.params_width;
            layer.floats = block.batch * block.out_height * block.out_width * layer.plan.lanes;
            layer.kept = kept_memory.take(block.slots * layer.plan.kept);
            if (layer.plan.in_y) layer.y = kept_memory.take(block.slots * layer.floats);
            chunks = std::max(chunks, layer.plan.chunks);
            macs += layer.plan.macs(block);
            floats_per_slot += layer.plan.kept + layer.plan.back_work + layer.floats;
            layers.push_back(std::move(layer));
        }
        head = columns;
        features = last().c_out * (flatten ? last().out_height * last().out_width : 1);
        columns += aligned(classes * features) + aligned(classes);
        features_at = kept_memory.take(last().slots * last().batch * features);
        kept = kept_memory.floats();
    }

    struct Layer {
        ConvBlock block;
        block::Plan plan;
        int64_t column;           // of its parameters
        int64_t kept, y, floats;  // kept memory of all slots, outputs where they are kept; floats: of a slot's output
    };
    std::vector<Layer> layers;
    int64_t classes, head = 0, features = 0, columns = 0;
    bool flatten;
    int64_t features_at = 0, kept = 0;
    int64_t chunks = 1, macs = 0, floats_per_slot = 0;

    int64_t slots() const { return last().slots; }
    int64_t batch() const { return last().batch; }
    const ConvBlock& last() const { return layers.back().block; }
    Activation output(float* data) const { return {data, last().c_out, last().out_height, last().out_width}; }

private:
    static void follow(const ConvBlock& before, ConvBlock& block) {
        if (before.slots != block.slots || before.batch != block.batch || before.c_out != block.c_in ||
            before.out_height != block.height || before.out_width != block.width)
            throw std::invalid_argument("conv_stack: a block does not fit the one before");
        const int64_t pixel = padded_channels(block.c_in), row = block.width * pixel, image = block.height * row;
        const int64_t step[5] = {block.batch * image, image, 1, row, pixel};
        std::copy(step, step + 5, block.x_step);
    }
};

namespace {

using Plan = ConvStack::Plan;
using Input = ConvStack::Input;

void check(const Input& input, int64_t columns) {
    if (input.params_width < columns)
        throw std::invalid_argument("conv_stack: rows of " + std::to_string(input.params_width) +
                                    " parameters, the network has " + std::to_string(columns));
}

// The pass of a team over some slots. An output lives until the next layer has read it, in the backward its gradient: the
// backward computes outputs again from what stands before the normalisation.
class StackPass {
public:
    StackPass(const Plan& plan, const Input& input, const Team& team) : plan_(plan), input_(input), team_(team) {}

    void forward(int64_t first, int64_t count, float* saved, float* logits) const {
        float* y = nullptr;
        Memory before, own;
        for (size_t i = 0; i < plan_.layers.size(); ++i) {
            const auto& layer = plan_.layers[i];
            const float* x = y;
            y = saved && layer.plan.in_y ? saved + layer.y + first * layer.floats : memory(own, count * layer.floats);
            block::forward(part(i, first, count, x), layer.plan, y,
                           saved ? saved + layer.kept + first * layer.plan.kept : nullptr, nullptr, team_);
            before.swap(own);
        }
        const int64_t images = count * plan_.batch();
        const Block unkept(saved ? 0 : images * plan_.features * static_cast<int64_t>(sizeof(float)));
        float* features = saved ? saved + plan_.features_at + first * plan_.batch() * plan_.features : unkept.floats();
        linear_head({plan_.output(y)}, params(first) + plan_.head, head(count), features,
                    logits + first * plan_.batch() * plan_.classes, team_.threads);
    }

    void backward(int64_t first, int64_t count, const float* saved, const float* grad, float* dx,
                  float* dparams) const {
        float* row = dparams + first * input_.params_width;
        Memory own, next;
        float* gy = memory(own, count * plan_.layers.back().floats);
        linear_head_backward(grad + first * plan_.batch() * plan_.classes,
                             saved + plan_.features_at + first * plan_.batch() * plan_.features,
                             params(first) + plan_.head, head(count), row + plan_.head, input_.params_width,
                             input_.params_width - plan_.head, {plan_.output(gy)}, team_.threads);
        for (size_t i = plan_.layers.size(); i-- > 1;) {
            const auto& previous = plan_.layers[i - 1];
            float* to = memory(next, count * previous.floats);
            const float* x = previous.plan.in_y ? saved + previous.y + first * previous.floats : nullptr;
            const ConvBlock block = part(i, first, count, x), given = part(i - 1, first, count, nullptr);
            const block::Before before{given, previous.plan, saved + previous.kept + first * previous.plan.kept};
            backward(i, block, first, saved, previous.plan.in_y ? nullptr : &before, gy, to, row);
            own = std::move(next);
            gy = to;
        }
        const auto& layer = plan_.layers.front();
        const int64_t images = layer.block.batch * layer.block.height * layer.block.width * layer.plan.in_lanes;
        backward(0, part(0, first, count, nullptr), first, saved, nullptr, gy, dx ? dx + first * images : nullptr, row);
    }

private:
    using Memory = std::unique_ptr<const Block>;

    static float* memory(Memory& holder, int64_t floats) {
        holder = nullptr;
        holder = std::make_unique<const Block>(floats * static_cast<int64_t>(sizeof(float)));
        return holder->floats();
    }
    void backward(size_t i, const ConvBlock& block, int64_t first, const float* saved, const block::Before* before,
                  const float* gy, float* dx, float* row) const {
        const auto& layer = plan_.layers[i];
        const float* y = layer.plan.in_y ? saved + layer.y + first * layer.floats : nullptr;
        block::backward(block, layer.plan, saved + layer.kept + first * layer.plan.kept, y, before, gy, dx,
                        row + layer.column, team_);
    }
    const float* params(int64_t slot) const { return input_.params + slot * input_.params_row; }
    HeadShape head(int64_t count) const {
        return {count, plan_.batch(), plan_.classes, input_.params_row, plan_.flatten};
    }
    // Block i of `count` slots; x null: the images.
    ConvBlock part(size_t i, int64_t first, int64_t count, const float* x) const {
        ConvBlock block = plan_.layers[i].block;
        block.slots = count;
        block.x = x;
        if (i == 0) {
            block.x = input_.x + first * input_.x_step[0];
            std::copy(input_.x_step, input_.x_step + 5, block.x_step);
        }
        block.params = params(first) + plan_.layers[i].column;
        block.params_row = input_.params_row;
        block.grad_row = input_.params_width;
        block.threads = team_.threads;
        if (input_.gate_saved) {
            const auto& layer = plan_.layers[i];
            block.gate_saved = input_.gate_saved + layer.kept + first * layer.plan.kept;
            block.gate_params = input_.gate_params + first * input_.gate_row + layer.column;
            block.gate_row = input_.gate_row;
        }
        return block;
    }

    const Plan& plan_;
    const Input& input_;
    Team team_;
};

template <class Run>
void for_stack(const Plan& plan, const Input& input, int64_t passes, const Run& run) {
    for_all_slots(
        plan.slots(), team_of(plan.slots(), input.threads, plan.chunks, plan.floats_per_slot, passes * plan.macs),
        [&](const Team& team) { return std::make_unique<const StackPass>(plan, input, team); }, run);
}

}  // namespace

ConvStack::ConvStack(const std::vector<ConvBlock>& blocks, int64_t classes, bool flatten)
    : plan_(std::make_unique<const Plan>(blocks, classes, flatten)) {}

ConvStack::~ConvStack() = default;

int64_t ConvStack::images() const { return plan_->slots() * plan_->batch(); }
int64_t ConvStack::columns() const { return plan_->columns; }

int64_t ConvStack::saved() const { return plan_->kept; }

void ConvStack::forward(const Input& input, float* saved, float* logits) const {
    check(input, columns());
    if (plan_->slots() == 0 || plan_->batch() == 0) return;
    for_stack(*plan_, input, 1, [&](const StackPass& worker, int64_t first, int64_t count) {
        worker.forward(first, count, saved, logits);
    });
}

void ConvStack::backward(const Input& input, const float* saved, const float* grad, float* dx, float* dparams) const {
    check(input, columns());
    if (plan_->slots() == 0 || plan_->batch() == 0) {
        std::fill_n(dparams, plan_->slots() * input.params_width, 0.0f);
        return;
    }
    for_stack(*plan_, input, 2, [&](const StackPass& worker, int64_t first, int64_t count) {
        worker.backward(first, count, saved, grad, dx, dparams);
    });
}

}  // namespace autometa
