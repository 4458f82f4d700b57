#include "plan.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <string>

#include "../conv/batch_norm.h"
#include "../conv/winograd.h"
#include "activation.h"

namespace autometa {
namespace mixed {

namespace {

[[noreturn]] void refuse(const std::string& what) { throw std::invalid_argument("mixed_op: " + what); }

int64_t halved(int64_t size, int64_t stride) { return (size + stride - 1) / stride; }

Conv depthwise(int64_t channels, int64_t kernel, int64_t dilation, int64_t stride, int64_t parameter) {
    Conv conv;
    const int64_t border = dilation * (kernel - 1) / 2;
    conv.taps = window(kernel, kernel, dilation, stride, border, border);
    conv.outs = channels;
    conv.parts = {{parameter, channels, 1, 0, kernel * kernel, 0, 0}};
    return conv;
}

Conv full(int64_t channels, int64_t kh, int64_t kw, int64_t stride, int64_t parameter) {
    Conv conv;
    conv.taps = window(kh, kw, 1, stride, kh / 2, kw / 2);
    conv.depth = conv.outs = channels;
    conv.parts = {{parameter, channels, channels, 0, kh * kw, 0, 0}};
    return conv;
}

// Appends stages while it walks the parameters in their order.
class Builder {
public:
    Builder(const Node& node, int64_t offset) : node_(node), at_(offset) {}

    void pool() {
        stages_.push_back({});
        finish();
    }
    void separable(int64_t kernel, int64_t dilation, int64_t stride) {
        const int64_t c = node_.channels, first = take(c * kernel * kernel), second = take(c * c);
        stages_.push_back({});
        stages_.back().convs = {depthwise(c, kernel, dilation, stride, first), full(c, 1, 1, 1, second)};
        finish();
    }
    void pair(int64_t kernel, int64_t stride) {
        const int64_t c = node_.channels, first = take(c * c * kernel), second = take(c * c * kernel);
        stages_.push_back({});
        stages_.back().convs = {full(c, 1, kernel, stride, first), full(c, kernel, 1, 1, second)};
        finish();
    }
    void full_conv(int64_t kernel, int64_t stride) {
        const int64_t c = node_.channels;
        stages_.push_back({});
        stages_.back().convs = {full(c, kernel, kernel, stride, take(kernel * kernel * c * c))};
        finish();
    }
    void reduction(int64_t height, int64_t width) {
        const int64_t c = node_.channels, half = c / 2, a = take(half * c), b = take((c - half) * c);
        Conv conv;
        conv.taps.stride = 2;
        conv.taps.at = {{0, 0}, {1 - height % 2, 1 - width % 2}};
        conv.depth = conv.outs = c;
        conv.parts = {{a, half, c, 0, 1, 0, 0}, {b, c - half, c, 0, 1, half, 1}};
        stages_.push_back({});
        stages_.back().convs = {conv};
        finish();
    }
    int64_t end() const { return at_; }
    std::vector<Stage> stages() const { return stages_; }

private:
    int64_t take(int64_t size) {
        const int64_t at = at_;
        at_ += aligned(size);
        return at;
    }
    void finish() {
        if (!node_.affine) return;
        stages_.back().gamma = take(node_.channels);
        stages_.back().beta = take(node_.channels);
    }

    const Node& node_;
    int64_t at_;
    std::vector<Stage> stages_;
};

std::vector<Stage> stages_of(const Node& node, int64_t code, int64_t stride, int64_t offset, int64_t height,
                             int64_t width) {
    if (offset < 0 || offset > node.params_width)
        refuse("parameters " + std::to_string(offset) + ".. of primitive " + std::to_string(code) +
               " lie outside the " + std::to_string(node.params_width) + " of its block");
    Builder build(node, offset);
    const Primitive& op = kPrimitives[code];
    switch (op.kind) {
        case Kind::identity:
            if (stride == 2) build.reduction(height, width);
            break;
        case Kind::maximum:
        case Kind::average: build.pool(); break;
        case Kind::separable:
            for (int64_t stage = 0; stage < op.stages; ++stage)
                build.separable(op.kernel, op.dilation, stage == 0 ? stride : 1);
            break;
        case Kind::pair: build.pair(op.kernel, stride); break;
        case Kind::full: build.full_conv(op.kernel, stride); break;
        default: break;
    }
    if (build.end() > node.params_width)
        refuse("parameters " + std::to_string(offset) + ".." + std::to_string(build.end() - 1) + " of primitive " +
               std::to_string(code) + " lie outside the " + std::to_string(node.params_width) + " of its block");
    return build.stages();
}

void check_row(const Node& node, const int64_t* row) {
    const int64_t number = (row - node.table) / kColumns;
    const auto within = [&](const char* what, int64_t value, int64_t first, int64_t last) {
        if (value < first || value > last)
            refuse("table " + std::to_string(number / node.instances) + ", instance " +
                   std::to_string(number % node.instances) + ": " + what + " " + std::to_string(value) +
                   " is not in " + std::to_string(first) + ".." + std::to_string(last));
    };
    within("state", row[0], 0, node.states - 1);
    within("edge", row[1], 0, node.edges - 1);
    within("primitive", row[2], 0, kCodes - 1);
    within("stride", row[3], 1, 2);
}

// Shapes of a stage, and its places in the kept and the work memory.
void place(Stage& stage, int64_t height, int64_t width, int64_t stride, const Node& node, const Sizes& sizes,
           Layout& kept, Layout& work) {
    const int64_t lanes = sizes.lanes, packed_lanes = lanes;
    stage.in = {nullptr, height, width, 0, 0, lanes};
    stage.out = {nullptr, halved(height, stride), halved(width, stride), 0, 0, lanes};
    stage.mid = stage.out;
    if (!stage.pool()) {
        stage.in.pad_h = stage.convs[0].taps.reach_h();
        stage.in.pad_w = stage.convs[0].taps.reach_w();
        stage.z = kept.take(node.batch * stage.out.floats());
        Conv& conv = stage.convs[0];
        conv.winograd = !conv.depthwise() && conv.taps.count() == Winograd::kTaps && stride == 1 &&
                        Winograd::gains(node.channels, height, width);
    }
    if (stage.convs.size() == 2) {
        stage.mid.pad_h = stage.convs[1].taps.reach_h();
        stage.mid.pad_w = stage.convs[1].taps.reach_w();
        if (!stage.convs[0].depthwise()) stage.kept_mid = kept.take(node.batch * stage.mid.floats());
    }
    stage.mean = kept.take(2 * lanes);
    for (const Conv& conv : stage.convs) stage.packed.push_back(work.take(conv.packed(packed_lanes)));
    stage.image_step = kMoments * lanes;
    stage.moments = work.take(node.batch * stage.image_step);
}

// What the backward needs besides: transposed weights, weight gradients, sums of images.
void place_backward(Plan& plan, const Node& node, const Sizes& sizes, Layout& work) {
    Layout gradients;
    for (Instance& instance : plan.live) {
        instance.sums = work.take(node.batch * sizes.lanes);
        if (instance.stages.size() == 2) instance.carried = work.take(node.batch * instance.stages[0].out.floats());
        for (Stage& stage : instance.stages)
            for (const Conv& conv : stage.convs) {
                stage.transposed.push_back(work.take(conv.transposed(sizes.lanes)));
                stage.gradient.push_back(gradients.take(conv.packed(sizes.lanes)));
            }
    }
    plan.base_sums = work.take(node.batch * sizes.lanes);
    plan.gradients = gradients.floats();
    plan.gradients_at = work.take(sizes.chunks * plan.gradients);
}

}  // namespace

int64_t Plan::border_h(int64_t state) const {
    int64_t border = 0;
    for (const Instance& i : live)
        if (i.state == state && !i.identity()) border = std::max(border, i.stages[0].in.pad_h);
    return border;
}

int64_t Plan::border_w(int64_t state) const {
    int64_t border = 0;
    for (const Instance& i : live)
        if (i.state == state && !i.identity()) border = std::max(border, i.stages[0].in.pad_w);
    return border;
}

Sizes sizes_of(const Node& node) {
    Sizes sizes{padded_channels(node.channels), -1, -1, 1};
    for (int64_t i = 0; i < node.tables * node.instances; ++i) {
        const int64_t* row = node.table + i * kColumns;
        if (row[2] < 0) continue;
        check_row(node, row);
        const int64_t height = halved(node.sizes[2 * row[0]], row[3]), width = halved(node.sizes[2 * row[0] + 1], row[3]);
        if (sizes.out_height >= 0 && (height != sizes.out_height || width != sizes.out_width))
            refuse("its instances give outputs of different sizes");
        sizes.out_height = height;
        sizes.out_width = width;
    }
    if (sizes.out_height < 0) refuse("a table without a single instance");
    sizes.chunks = chunks_of(node.batch, sizes.pixels());
    return sizes;
}

namespace {

// The table that a slot follows, then the numbers of its instances alive: what its plan depends on.
std::vector<int64_t> key_of(const Node& node, int64_t slot) {
    const int64_t which = node.table_of_slot ? node.table_of_slot[slot] : 0;
    if (which < 0 || which >= node.tables) refuse("table_of_slot names a table that does not exist");
    std::vector<int64_t> key{which};
    for (int64_t i = 0; i < node.instances; ++i) {
        const int64_t* row = node.table + (which * node.instances + i) * kColumns;
        const bool op = row[2] >= 0 && kind_of(row[2]) != Kind::none;
        if (op && weight_of(node, slot, i) != 0.0f && edge_weight_of(node, slot, row[1]) != 0.0f) key.push_back(i);
    }
    return key;
}

Plan plan_of(const Node& node, const Sizes& sizes, const std::vector<int64_t>& key) {
    Plan plan;
    Layout kept, work;
    for (size_t k = 1; k < key.size(); ++k) {
        const int64_t i = key[k], *row = node.table + (key[0] * node.instances + i) * kColumns;
        Instance instance{};
        instance.number = i, instance.state = row[0], instance.edge = row[1], instance.code = row[2];
        instance.stride = row[3];
        instance.sums = instance.carried = -1;
        int64_t height = node.sizes[2 * row[0]], width = node.sizes[2 * row[0] + 1], stride = row[3];
        instance.stages = stages_of(node, row[2], stride, row[4], height, width);
        for (Stage& stage : instance.stages) {
            place(stage, height, width, stride, node, sizes, kept, work);
            height = stage.out.height, width = stage.out.width, stride = 1;
        }
        plan.live.push_back(instance);
    }
    plan.kept = kept.floats();
    plan.work = work.floats();
    place_backward(plan, node, sizes, work);
    plan.back_work = work.floats();
    return plan;
}

}  // namespace

Plans::Plans(const Node& node) : sizes(sizes_of(node)), batch(node.batch) {
    kept_at.push_back(0);
    std::map<std::vector<int64_t>, size_t> known;
    for (int64_t s = 0; s < node.slots; ++s) {
        const auto [own, fresh] = known.emplace(key_of(node, s), different.size());
        if (fresh) different.push_back(plan_of(node, sizes, own->first));
        number_of_slot.push_back(own->second);
        kept_at.push_back(kept_at.back() + of_slot(s).kept);
    }
    for (int64_t j = 0; j < node.states; ++j)
        largest = std::max(largest, (node.sizes[2 * j] + 8) * (node.sizes[2 * j + 1] + 8) * sizes.lanes);
    largest = std::max(largest, (sizes.out_height + 8) * (sizes.out_width + 8) * sizes.lanes);
    largest = aligned(largest);
    const int64_t coefficients = (8 + 4 * node.instances) * aligned(sizes.lanes);
    forward_scratch = 5 * largest + coefficients;
    backward_scratch = 9 * largest + coefficients;
}

int64_t Plans::floats_per_slot() const {
    int64_t found = 0;
    for (const Plan& plan : different) found = std::max(found, plan.kept + plan.back_work);
    return found;
}

int64_t Plans::macs() const {
    std::vector<int64_t> per_pixel;
    for (const Plan& plan : different) {
        per_pixel.push_back(0);
        for (const Instance& i : plan.live) {
            per_pixel.back() += sizes.lanes;
            for (const Stage& stage : i.stages)
                for (const Conv& conv : stage.convs) per_pixel.back() += conv.packed(sizes.lanes);
        }
    }
    int64_t all = 0;
    for (const size_t number : number_of_slot) all += per_pixel[number];
    return all * batch * sizes.pixels();
}

}  // namespace mixed

int64_t mixed_op_saved(const Node& node) { return mixed::Plans(node).kept_at.back(); }

}  // namespace autometa
