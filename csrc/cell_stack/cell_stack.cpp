// Networks of cells slot by slot: the ops of the package, one after another, on memory that stays near.
#include <algorithm>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>

#include "../conv/conv.h"
#include "../conv/wave.h"
#include "autometa.h"
#include "parallel.h"

namespace autometa {

namespace {

constexpr int64_t kColumns = 5;

void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(std::string("cell_stack: ") + what);
}

int64_t instances_of(const CellStack::Step& step) { return static_cast<int64_t>(step.table.size()) / kColumns; }

}  // namespace

CellStack::CellStack(const ConvBlock& stem, int64_t stem_column, const std::vector<Step>& steps, const Step& head,
                     int64_t classes)
    : stem_(stem), stem_column_(stem_column), classes_(classes), steps_(steps), head_(head) {
    require(stem.batch > 0 && classes > 0, "needs images and classes");
    require(!head.reads.empty(), "the head reads nothing");
    Layout memory;
    const auto map = [&](int64_t channels, int64_t height, int64_t width) {
        const int64_t floats = stem_.batch * height * width * padded_channels(channels);
        maps_.push_back({channels, height, width, memory.take(floats), memory.take(floats)});
    };
    map(stem.c_out, stem.out_height, stem.out_width);
    stem_kept_ = memory.take(conv_block_saved(stem));
    columns_ = stem_column + stem.params_width;
    int64_t most = 1;
    for (const Step& step : steps_) {
        require(!step.reads.empty() && step.column >= 0 && step.width >= 0, "a step reads nothing");
        for (const int64_t read : step.reads)
            require(read >= 0 && read < static_cast<int64_t>(maps_.size()), "a step reads what does not exist yet");
        require(!step.node || (instances_of(step) > 0 && step.table.size() % kColumns == 0), "a node without instances");
        most = std::max(most, instances_of(step));
        columns_ = std::max(columns_, step.column + step.width);
        const Map first = maps_[static_cast<size_t>(step.reads[0])];
        const bool halve = !step.node && step.reduce;
        int64_t height = halve ? (first.height + 1) / 2 : first.height, width = halve ? (first.width + 1) / 2 : first.width;
        if (step.node) {
            require(step.table[0] >= 0 && step.table[0] < static_cast<int64_t>(step.reads.size()), "a table's state");
            const Map read = maps_[static_cast<size_t>(step.reads[static_cast<size_t>(step.table[0])])];
            const int64_t stride = step.table[3];
            require(stride == 1 || stride == 2, "a table's stride");
            height = (read.height + stride - 1) / stride, width = (read.width + stride - 1) / stride;
        }
        map(step.channels, height, width);
    }
    columns_ = std::max(columns_, head.column + head.width);
    ones_ = memory.take(most), dweights_ = memory.take(2 * most);
    const std::vector<float> weights(static_cast<size_t>(most), 1.0f);
    for (const Step& step : steps_) {  // throws what an op has against its sizes
        Use use;
        const std::vector<const float*> none(step.reads.size(), nullptr);
        const std::vector<int64_t> size = sizes(step);
        use.kept = memory.take(step.node ? mixed_op_saved(node(step, nullptr, weights.data(), size, none))
                                         : preprocess_saved(preprocessing(step, nullptr, none)));
        uses_.push_back(use);
    }
    std::vector<bool> written(maps_.size(), false);
    for (const int64_t read : head_.reads) written[static_cast<size_t>(read)] = true;
    int64_t features = 0;
    for (const int64_t read : head_.reads) features += maps_[static_cast<size_t>(read)].channels;
    require(head.width >= aligned(features * classes) + classes, "too few parameters for the head");
    features_ = memory.take(stem.batch * features);
    dlogits_ = memory.take(stem.batch * classes);
    for (size_t k = steps_.size(); k-- > 0;) {
        require(written[k + 1], "nobody reads the result of a step");
        for (const int64_t read : steps_[k].reads) {
            uses_[k].add.push_back(written[static_cast<size_t>(read)]);
            written[static_cast<size_t>(read)] = true;
        }
    }
    require(written[0], "nobody reads the stem");
    floats_ = memory.floats();
}

std::vector<const float*> CellStack::states(const Step& step, const float* memory) const {
    std::vector<const float*> found;
    for (const int64_t read : step.reads) found.push_back(memory + maps_[static_cast<size_t>(read)].at);
    return found;
}

std::vector<int64_t> CellStack::sizes(const Step& step) const {
    std::vector<int64_t> found;
    for (const int64_t read : step.reads) {
        const Map& map = maps_[static_cast<size_t>(read)];
        require(!step.node || map.channels == step.channels, "a node reads states of other channels");
        found.insert(found.end(), {map.height, map.width});
    }
    return found;
}

std::vector<StateGradient> CellStack::gradients(const Step& step, const Use& use, float* memory) const {
    std::vector<StateGradient> found;
    for (size_t j = 0; j < step.reads.size(); ++j)
        found.push_back({memory + maps_[static_cast<size_t>(step.reads[j])].gradient, use.add[j]});
    return found;
}

Preprocess CellStack::preprocessing(const Step& step, const float* params,
                                    const std::vector<const float*>& states) const {
    const Map& first = maps_[static_cast<size_t>(step.reads[0])];
    for (const int64_t read : step.reads) {
        const Map& map = maps_[static_cast<size_t>(read)];
        require(map.channels == first.channels && map.height == first.height && map.width == first.width,
                "a preprocessing reads states of different sizes");
    }
    return {1, stem_.batch, static_cast<int64_t>(states.size()), first.channels, first.height, first.width,
            step.channels, states.data(), params, step.width, step.width, nullptr, step.reduce, true, stem_.eps, 1};
}

Node CellStack::node(const Step& step, const float* params, const float* ones, const std::vector<int64_t>& sizes,
                     const std::vector<const float*>& states) const {
    const int64_t instances = instances_of(step);
    return {1, stem_.batch, step.channels, static_cast<int64_t>(states.size()), instances, instances, 1, sizes.data(),
            states.data(), params, step.width, step.width, ones, ones, step.table.data(), nullptr, nullptr, nullptr,
            true, stem_.eps, 1};
}

void CellStack::forward(size_t k, const float* params, float* memory, bool keep) const {
    const Step& step = steps_[k];
    const std::vector<const float*> in = states(step, memory);
    const std::vector<int64_t> size = sizes(step);
    float *y = memory + maps_[k + 1].at, *saved = keep ? memory + uses_[k].kept : nullptr;
    if (step.node)
        mixed_op(node(step, params + step.column, memory + ones_, size, in), y, saved, nullptr);
    else
        preprocess(preprocessing(step, params + step.column, in), y, saved, nullptr);
}

void CellStack::backward(size_t k, const float* params, float* memory, float* dparams) const {
    const Step& step = steps_[k];
    const std::vector<const float*> in = states(step, memory);
    const std::vector<int64_t> size = sizes(step);
    const std::vector<StateGradient> to = gradients(step, uses_[k], memory);
    const float *saved = memory + uses_[k].kept, *gy = memory + maps_[k + 1].gradient;
    float *own = dparams + step.column, *dweights = memory + dweights_;
    if (step.node)
        mixed_op_backward(node(step, params + step.column, memory + ones_, size, in), saved, gy, to.data(), own,
                          dweights, dweights + instances_of(step));
    else
        preprocess_backward(preprocessing(step, params + step.column, in), saved, memory + maps_[k + 1].at, gy,
                            to.data(), own);
}

std::vector<Activation> CellStack::head_states(float* memory, bool gradient) const {
    std::vector<Activation> found;
    for (const int64_t read : head_.reads) {
        const Map& map = maps_[static_cast<size_t>(read)];
        found.push_back({memory + (gradient ? map.gradient : map.at), map.channels, map.height, map.width});
    }
    return found;
}

void CellStack::run(const Input& input, int64_t slot, float* memory, float* loss, float* logits, float* dparams,
                    int64_t dparams_row) const {
    const float* params = input.params + slot * input.params_row;
    const int64_t* labels = input.labels + slot * stem_.batch;
    const bool keep = dparams != nullptr;
    ConvBlock stem = stem_;
    stem.x = input.x + slot * input.x_step[0];
    std::copy(input.x_step, input.x_step + 5, stem.x_step);
    stem.params = params + stem_column_;
    stem.params_row = stem.grad_row = stem.params_width;
    int64_t most = 1;
    for (const Step& step : steps_) most = std::max(most, instances_of(step));
    std::fill_n(memory + ones_, most, 1.0f);

    conv_block(stem, memory + maps_[0].at, keep ? memory + stem_kept_ : nullptr, nullptr);
    for (size_t k = 0; k < steps_.size(); ++k) forward(k, params, memory, keep);
    const HeadShape head{1, stem_.batch, classes_, head_.width, false};
    linear_head(head_states(memory, false), params + head_.column, head, memory + features_, logits, 1);
    cross_entropy(logits, labels, {1, stem_.batch, classes_}, loss, 1);
    if (!keep) return;

    const float one = 1.0f;
    std::fill_n(dparams, dparams_row, 0.0f);
    cross_entropy_backward(&one, logits, labels, {1, stem_.batch, classes_}, memory + dlogits_, 1);
    linear_head_backward(memory + dlogits_, memory + features_, params + head_.column, head, dparams + head_.column,
                         head_.width, head_.width, head_states(memory, true), 1);
    for (size_t k = steps_.size(); k-- > 0;) backward(k, params, memory, dparams);
    conv_block_backward(stem, memory + stem_kept_, memory + maps_[0].at, memory + maps_[0].gradient, nullptr,
                        dparams + stem_column_);
}

void cell_stack(const std::vector<const CellStack*>& stacks, const CellStack::Input& input, float* losses, float* logits,
                float* dparams, int64_t dparams_row, int threads) {
    int64_t floats = 0;
    for (const CellStack* stack : stacks) {
        require(stack->columns() <= std::max(input.params_row, dparams_row), "rows have too few parameters");
        require(stack->batch() == stacks[0]->batch() && stack->classes() == stacks[0]->classes(),
                "slots differ in images or classes");
        floats = std::max(floats, stack->floats());
    }
    if (stacks.empty()) return;
    const int64_t slots = static_cast<int64_t>(stacks.size()), outputs = stacks[0]->batch() * stacks[0]->classes();
    Scratch scratch(floats, static_cast<int>(std::min<int64_t>(std::max(threads, 1), slots)));
    std::mutex mutex;
    std::exception_ptr failure;
    parallel_for(slots, threads, [&](int64_t slot) {
        const Scratch::Share share(scratch);
        try {
            stacks[static_cast<size_t>(slot)]->run(input, slot, share.floats(), losses + slot, logits + slot * outputs,
                                                   dparams ? dparams + slot * dparams_row : nullptr, dparams_row);
        } catch (...) {
            const std::lock_guard<std::mutex> lock(mutex);
            failure = std::current_exception();
        }
    });
    if (failure) std::rethrow_exception(failure);
}

}  // namespace autometa
