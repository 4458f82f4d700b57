// The Python face of the ops on activations, part of the module that bindings.cpp makes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include "addresses.h"
#include "autometa.h"
#include "op_codes.h"

namespace py = pybind11;
using autometa::Address;
using autometa::at;
using autometa::elements;
using autometa::of;
using autometa::require;

namespace {

// Per state its address, channels, height and width.
using States = std::vector<std::array<int64_t, 4>>;

std::vector<autometa::Activation> activations(const States& states, int64_t images) {
    std::vector<autometa::Activation> found;
    for (const auto& [address, channels, height, width] : states) {
        require(channels >= 1 && height >= 1 && width >= 1, "states: channels, height and width must be 1 or more");
        float* data = of<float>(static_cast<Address>(address), {images, channels, height, width}, "states");
        found.push_back({data, channels, height, width});
    }
    return found;
}

int64_t features(const States& states, bool flatten) {
    int64_t found = 0;
    for (const auto& [address, channels, height, width] : states)
        found += elements("states", {channels, flatten ? height : 1, flatten ? width : 1});
    return found;
}

// Number of rows of a table of states, its address, that of the rows of the slots.
using TableOf = std::tuple<int64_t, Address, Address>;

autometa::HeadShape head_shape(const States& states, int64_t slots, int64_t batch, int64_t classes, int64_t row,
                               bool flatten, const TableOf& table) {
    const auto& [tables, rows, row_of_slot] = table;
    require(classes >= 1 && row >= 0, "linear_head: classes must be 1 or more");
    require(tables <= 1 || row_of_slot != 0, "table_of_slot: it is needed where there are several tables");
    const auto width = static_cast<int64_t>(states.size());
    return {slots, batch, classes, row, flatten, tables, of<int64_t>(rows, {tables, width}, "table"),
            at<int64_t>(tables == 0 ? 0 : row_of_slot)};
}

void linear_head(const States& states, Address params, int64_t slots, int64_t batch, int64_t classes, int64_t row,
                 bool flatten, const TableOf& table, Address features_at, Address logits, int threads) {
    const autometa::HeadShape shape = head_shape(states, slots, batch, classes, row, flatten, table);
    autometa::linear_head(activations(states, elements("states", {slots, batch})),
                          of<float>(params, {slots, classes}, "params"), shape,
                          of<float>(features_at, {slots, batch, features(states, flatten)}, "features"),
                          of<float>(logits, {slots, batch, classes}, "logits"), threads);
}

void linear_head_backward(Address grad, Address features_at, Address params, int64_t slots, int64_t batch,
                          int64_t classes, int64_t row, bool flatten, const TableOf& table, Address grad_params,
                          int64_t grad_row, const States& grads, int threads) {
    const autometa::HeadShape shape = head_shape(grads, slots, batch, classes, row, flatten, table);
    autometa::linear_head_backward(of<float>(grad, {slots, batch, classes}, "grad"),
                                   of<float>(features_at, {slots, batch, features(grads, flatten)}, "features"),
                                   of<float>(params, {slots, classes}, "params"), shape,
                                   of<float>(grad_params, {slots, grad_row}, "grad_params"), grad_row, grad_row,
                                   activations(grads, elements("grads", {slots, batch})), threads);
}

void read_ink(const std::array<Address, 2>& tensors, const std::array<int64_t, 3>& shape, int threads) {
    const auto [count, height, width] = shape;
    autometa::read_ink(of<uint8_t>(tensors[0], {count, height, width}, "images"), count, height, width,
                       of<uint8_t>(tensors[1], {count, height, width}, "out"), threads);
}

void cross_entropy(Address logits, Address labels, int64_t slots, int64_t batch, int64_t classes, Address losses,
                   int threads) {
    require(classes >= 1, "logits: classes must be 1 or more");
    autometa::cross_entropy(of<float>(logits, {slots, batch, classes}, "logits"),
                            of<int64_t>(labels, {slots, batch}, "labels"), {slots, batch, classes},
                            of<float>(losses, {slots}, "losses"), threads);
}

void cross_entropy_backward(Address grad, Address logits, Address labels, int64_t slots, int64_t batch,
                            int64_t classes, Address grad_logits, int threads) {
    require(classes >= 1, "logits: classes must be 1 or more");
    autometa::cross_entropy_backward(
        of<float>(grad, {slots}, "grad"), of<float>(logits, {slots, batch, classes}, "logits"),
        of<int64_t>(labels, {slots, batch}, "labels"), {slots, batch, classes},
        of<float>(grad_logits, {slots, batch, classes}, "grad_logits"), threads);
}

void sum_activations(const std::vector<Address>& x, Address out, int64_t images, const std::array<int64_t, 3>& shape,
                     int threads) {
    const std::initializer_list<int64_t> sizes = {images, shape[0], shape[1], shape[2]};
    if (elements("x", sizes) == 0) return;
    std::vector<const float*> parts;
    for (const Address address : x) parts.push_back(of<float>(address, sizes, "x"));
    autometa::sum_activations(parts, of<float>(out, sizes, "out"), images, {nullptr, shape[0], shape[1], shape[2]}, threads);
}

void join_columns(const std::vector<std::array<int64_t, 3>>& parts, Address out, int64_t rows, int64_t row,
                  int threads) {
    std::vector<autometa::Columns> columns;
    int64_t all = 0;
    for (const auto& [address, distance, width] : parts) {
        all += elements("parts", {width});
        columns.push_back({at<float>(static_cast<Address>(address)), distance, width});
    }
    require(all == row, "parts: their widths must add up to the row");
    if (elements("out", {rows, row}) == 0) return;
    autometa::join_columns(columns, of<float>(out, {rows, row}, "out"), rows, row, threads);
}

// By state the address of its gradient, 0 for none, and whether to add to what stands there.
using Gradients = std::vector<std::pair<Address, bool>>;

std::vector<autometa::StateGradient> state_gradients(const Gradients& gradients) {
    std::vector<autometa::StateGradient> found;
    for (const auto& [address, add] : gradients) found.push_back({at<float>(address), add});
    return found;
}

// Pointers and sizes of a node, in the order of autometa/ops/mixed_op/cpp.py.
struct NodeOf {
    std::vector<const float*> states;
    std::vector<int64_t> sizes;
    autometa::Node node;

    NodeOf(const std::vector<Address>& addresses, const std::vector<int64_t>& state_sizes,
           const std::array<int64_t, 8>& shape, const std::array<Address, 7>& tensors, bool affine, double eps,
           int threads)
        : sizes(state_sizes) {
        const auto [slots, batch, channels, instances, edges, tables, params_row, params_width] = shape;
        require(!addresses.empty() && sizes.size() == 2 * addresses.size(), "states: each needs a height and a width");
        require(channels >= 1 && instances >= 1 && edges >= 1 && tables >= 1 && params_row >= 0,
                "mixed_op: channels, instances, edges and tables must be 1 or more");
        require(tables == 1 || tensors[4] != 0, "table_of_slot: it is needed where there are several tables");
        for (size_t j = 0; j < addresses.size(); ++j) {
            const int64_t height = sizes[2 * j], width = sizes[2 * j + 1];
            require(height >= 1 && width >= 1, "states: height and width must be 1 or more");
            states.push_back(of<float>(addresses[j], {slots, batch, channels, height, width}, "states"));
        }
        node = {slots, batch, channels, static_cast<int64_t>(states.size()), instances, edges, tables, sizes.data(),
                states.data(), of<float>(tensors[0], {slots, params_width}, "params"), params_row, params_width,
                of<float>(tensors[1], {slots, instances}, "op_weight"),
                of<float>(tensors[2], {slots, edges}, "input_weight"),
                of<int64_t>(tensors[3], {tables, instances}, "table"), at<int64_t>(tensors[4]), at<float>(tensors[5]),
                at<float>(tensors[6]), affine, eps, threads};
    }
    NodeOf(const NodeOf&) = delete;
    NodeOf& operator=(const NodeOf&) = delete;
};

// Whether something is kept for the backward; asked where its address is null alone.
template <class Saved>
const float* kept(Address saved, const Saved& floats) {
    require(saved != 0 || floats() == 0, "saved: its address is null");
    return at<float>(saved);
}

void mixed_op(const NodeOf& node_of, Address y, Address saved, Address statistics) {
    const autometa::Node& node = node_of.node;
    autometa::mixed_op(node, of<float>(y, {node.slots, node.batch}, "y"), at<float>(saved), at<float>(statistics));
}

void mixed_op_backward(const NodeOf& node_of, Address saved, Address gy, const Gradients& dstates, Address dparams,
                       Address dop, Address dinput) {
    const autometa::Node& node = node_of.node;
    require(dstates.size() == node_of.states.size(), "dstates: there must be one for every state");
    const float* before = kept(saved, [&] { return node.batch == 0 ? 0 : autometa::mixed_op_saved(node); });
    autometa::mixed_op_backward(node, before, of<float>(gy, {node.slots, node.batch}, "gy"),
                                state_gradients(dstates).data(),
                                of<float>(dparams, {node.slots, node.params_width}, "dparams"),
                                of<float>(dop, {node.slots, node.instances}, "dop"),
                                of<float>(dinput, {node.slots, node.edges}, "dinput"));
}

// Pointers and sizes of a preprocessing, in the order of autometa/ops/preprocess/cpp.py.
struct PreprocessOf {
    std::vector<const float*> states;
    autometa::Preprocess args;

    PreprocessOf(const std::vector<Address>& addresses, const std::array<int64_t, 8>& shape, Address params,
                 Address given, const TableOf& table, bool reduce, bool affine, double eps, int threads) {
        const auto& [tables, rows, row_of_slot] = table;
        const auto [slots, batch, depth, height, width, channels, params_row, params_width] = shape;
        const auto many = static_cast<int64_t>(addresses.size());
        require(many >= 1 && depth >= 1 && height >= 1 && width >= 1 && channels >= 1 && params_row >= 0,
                "preprocess: there must be a state; channels, height and width must be 1 or more");
        require(tables <= 1 || row_of_slot != 0, "table_of_slot: it is needed where there are several tables");
        elements("preprocess", {channels, depth, many});
        for (const Address address : addresses)
            states.push_back(of<float>(address, {slots, batch, depth, height, width}, "states"));
        args = {slots, batch, many, depth, height, width, channels, states.data(),
                of<float>(params, {slots, params_width}, "params"), params_row, params_width, at<float>(given), reduce,
                affine, eps, threads, tables, of<int64_t>(rows, {tables, many}, "table"),
                at<int64_t>(tables == 0 ? 0 : row_of_slot)};
    }
    PreprocessOf(const PreprocessOf&) = delete;
    PreprocessOf& operator=(const PreprocessOf&) = delete;
};

void preprocess(const PreprocessOf& own, Address y, Address saved, Address statistics) {
    const autometa::Preprocess& args = own.args;
    autometa::preprocess(args, of<float>(y, {args.slots, args.batch}, "y"), at<float>(saved), at<float>(statistics));
}

void preprocess_backward(const PreprocessOf& own, Address saved, Address y, Address gy,
                         const Gradients& dstates, Address dparams) {
    const autometa::Preprocess& args = own.args;
    require(dstates.size() == own.states.size(), "dstates: there must be one for every state");
    for (const auto& [address, add] : dstates) of<float>(address, {args.slots, args.batch}, "dstates");
    autometa::preprocess_backward(args, of<float>(saved, {args.slots, args.batch}, "saved"),
                                  of<float>(y, {args.slots, args.batch}, "y"),
                                  of<float>(gy, {args.slots, args.batch}, "gy"), state_gradients(dstates).data(),
                                  of<float>(dparams, {args.slots, args.params_width}, "dparams"));
}

// Arguments in the order of autometa/ops/conv_block/cpp.py: three addresses, then sizes and flags; gate: what an
// evaluation kept whose decisions are taken over, and its parameters, in rows as far apart as params'.
autometa::ConvBlock conv_block_of(const std::array<Address, 3>& tensors, const std::array<int64_t, 5>& x_step,
                                  const std::array<int64_t, 16>& sizes, const std::array<bool, 4>& flags, double eps,
                                  int threads, const std::array<Address, 2>& gate) {
    require((gate[0] == 0) == (gate[1] == 0), "conv_block: a gate has kept memory and parameters");
    const auto& [slots, batch, c_in, c_out, height, width, kernel, stride, top, left, conv_height, conv_width,
                 out_height, out_width, params_row, params_width] = sizes;
    require(params_row >= 0, "params: the distance of rows is negative");
    autometa::ConvBlock block{slots, batch, c_in, c_out, height, width, kernel, stride, top, left, conv_height,
                              conv_width, out_height, out_width, of<float>(tensors[0], {slots, batch, c_in, height, width}, "x"),
                              {}, of<float>(tensors[1], {slots, params_width}, "params"), params_row, params_width,
                              params_width, at<float>(tensors[2]), flags[0], flags[1], flags[2], flags[3], eps, threads,
                              at<float>(gate[0]), at<float>(gate[1]), params_row};
    std::copy(x_step.begin(), x_step.end(), block.x_step);
    return block;
}

void conv_block(const autometa::ConvBlock& block, Address y, Address saved, Address statistics) {
    autometa::conv_block(block, of<float>(y, {block.slots, block.batch}, "y"), at<float>(saved), at<float>(statistics));
}

void conv_block_backward(const autometa::ConvBlock& block, Address saved, Address y, Address gy, Address dx,
                         Address dparams) {
    const bool reads_y = block.norm && !block.relu && !block.pool;
    const float* before = kept(saved, [&] { return block.batch == 0 ? 0 : autometa::conv_block_saved(block); });
    autometa::conv_block_backward(block, before,
                                  reads_y ? of<float>(y, {block.slots, block.batch}, "y") : at<float>(y),
                                  of<float>(gy, {block.slots, block.batch}, "gy"), at<float>(dx),
                                  of<float>(dparams, {block.slots, block.params_width}, "dparams"));
}

}  // namespace

void bind_ops(py::module_& m) {
    m.def("op_codes", [] {
        py::list found;
        for (const autometa::Primitive& op : autometa::kPrimitives)
            found.append(py::make_tuple(op.name, static_cast<int>(op.kind), op.kernel, op.dilation, op.stages));
        return found;
    }, "Name, kind, kernel size, dilation and stages of every primitive, by code.");
    using release = py::call_guard<py::gil_scoped_release>;
    py::class_<NodeOf>(m, "Node", "Arguments of mixed_op.")
        .def(py::init<const std::vector<Address>&, const std::vector<int64_t>&, const std::array<int64_t, 8>&,
                      const std::array<Address, 7>&, bool, double, int>());
    m.def("mixed_op_saved", [](const NodeOf& own) { return autometa::mixed_op_saved(own.node); });
    m.def("mixed_op", &mixed_op, release());
    m.def("mixed_op_backward", &mixed_op_backward, release());
    py::class_<PreprocessOf>(m, "Preprocess", "Arguments of preprocess.")
        .def(py::init<const std::vector<Address>&, const std::array<int64_t, 8>&, Address, Address, const TableOf&,
                      bool, bool, double, int>());
    m.def("preprocess_saved", [](const PreprocessOf& own) { return autometa::preprocess_saved(own.args); });
    m.def("preprocess", &preprocess, release());
    m.def("preprocess_backward", &preprocess_backward, release());
    py::class_<autometa::ConvBlock>(m, "ConvBlock", "Arguments of conv_block.").def(py::init(&conv_block_of));
    m.def("conv_block_saved", &autometa::conv_block_saved);
    m.def("conv_block", &conv_block, release());
    m.def("conv_block_backward", &conv_block_backward, release());
    m.def("sum_activations", &sum_activations, release());
    m.def("join_columns", &join_columns, release());
    m.def("linear_head", &linear_head, release());
    m.def("linear_head_backward", &linear_head_backward, release());
    m.def("cross_entropy", &cross_entropy, release());
    m.def("read_ink", &read_ink, release());
    m.def("cross_entropy_backward", &cross_entropy_backward, release());
}
