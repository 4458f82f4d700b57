// The Python face of whole networks, part of the module that bindings.cpp makes.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <tuple>
#include <vector>

#include "addresses.h"
#include "autometa.h"

namespace py = pybind11;
using autometa::Address;
using autometa::at;
using autometa::elements;
using autometa::of;
using autometa::require;

namespace {

// Sizes and flags of block after block, in the order of autometa/ops/conv_block/cpp.py; image: slots, batch, channels,
// height, width.
std::unique_ptr<autometa::ConvStack> conv_stack_of(const std::array<int64_t, 5>& image, const std::vector<int64_t>& sizes,
                                                   const std::vector<bool>& flags, const std::vector<double>& eps,
                                                   int64_t classes, bool flatten) {
    if (sizes.size() != 9 * eps.size() || flags.size() != 4 * eps.size())
        throw std::invalid_argument("conv_stack: 9 sizes and 4 flags describe a block");
    const auto [slots, batch, channels, image_height, image_width] = image;
    require(classes >= 1, "conv_stack: classes must be 1 or more");
    std::vector<autometa::ConvBlock> blocks;
    int64_t c_in = channels, height = image_height, width = image_width;
    for (size_t i = 0; i < eps.size(); ++i) {
        const int64_t* size = sizes.data() + 9 * i;
        const auto flag = [&](size_t k) -> bool { return flags[4 * i + k]; };
        const auto columns = [](int64_t count) { return (count + 15) / 16 * 16; };
        elements("conv_stack", {size[0], size[1], size[1], c_in});
        const int64_t width_of_row = columns(size[0] * size[1] * size[1] * c_in) + (flag(0) + 2 * flag(1)) * columns(size[0]);
        blocks.push_back({slots, batch, c_in, size[0], height, width, size[1], size[2], size[3], size[4], size[5], size[6],
                          size[7], size[8], nullptr, {}, nullptr, 0, width_of_row, 0, nullptr, flag(0), flag(1), flag(2),
                          flag(3), eps[i], 1});
        c_in = size[0], height = size[7], width = size[8];
    }
    return std::make_unique<autometa::ConvStack>(blocks, classes, flatten);
}

// Addresses of images and parameters, their distances, columns of the parameters, threads; what an evaluation kept whose
// decisions are taken over, and its parameters.
autometa::ConvStack::Input stack_input(Address x, const std::array<int64_t, 5>& x_step, Address params,
                                       int64_t params_row, int64_t params_width, int threads, Address gate_saved,
                                       Address gate_params, int64_t gate_row) {
    require((gate_saved == 0) == (gate_params == 0) && gate_row >= 0, "conv_stack: a gate has kept memory and parameters");
    autometa::ConvStack::Input input{at<float>(x), {}, at<float>(params), params_row, params_width, threads,
                                     at<float>(gate_saved), at<float>(gate_params), gate_row};
    std::copy(x_step.begin(), x_step.end(), input.x_step);
    return input;
}

// The input, which must be there unless the stack has no images.
const autometa::ConvStack::Input& filled(const autometa::ConvStack& stack, const autometa::ConvStack::Input& input) {
    require(stack.images() == 0 || (input.x && input.params), "conv_stack: the address of x or params is null");
    require(input.params_row >= 0 && input.params_width >= 0, "conv_stack: a size is negative");
    return input;
}

void conv_stack(const autometa::ConvStack& stack, const autometa::ConvStack::Input& input, Address saved,
                Address logits) {
    stack.forward(filled(stack, input), at<float>(saved), of<float>(logits, {stack.images()}, "logits"));
}

void conv_stack_backward(const autometa::ConvStack& stack, const autometa::ConvStack::Input& input, Address saved,
                         Address grad, Address dx, Address dparams) {
    const int64_t images = stack.images();
    stack.backward(filled(stack, input), of<float>(saved, {images}, "saved"), of<float>(grad, {images}, "grad"),
                   at<float>(dx), of<float>(dparams, {images, input.params_width}, "dparams"));
}

// Steps in the order of autometa/ops/cell_stack/cpp.py.
using StepOf = std::tuple<bool, int64_t, int64_t, int64_t, bool, std::vector<int64_t>, std::vector<int64_t>>;

autometa::CellStack::Step cell_step(const StepOf& step) {
    const auto& [node, column, width, channels, reduce, reads, table] = step;
    return {node, column, width, channels, reduce, reads, table};
}

// image: batch, channels, height, width. stem: column, columns, filters, then as conv_block's sizes.
std::unique_ptr<autometa::CellStack> cell_stack_of(const std::array<int64_t, 4>& image,
                                                   const std::array<int64_t, 11>& stem, double eps,
                                                   const std::vector<StepOf>& steps, const StepOf& head,
                                                   int64_t classes) {
    const auto [batch, channels, height, width] = image;
    autometa::ConvBlock block{1, batch, channels, stem[2], height, width, stem[3], stem[4], stem[5], stem[6], stem[7],
                              stem[8], stem[9], stem[10], nullptr, {}, nullptr, 0, stem[1], 0, nullptr, false, true,
                              false, false, eps, 1};
    std::vector<autometa::CellStack::Step> made;
    for (const StepOf& step : steps) made.push_back(cell_step(step));
    return std::make_unique<autometa::CellStack>(block, stem[0], made, cell_step(head), classes);
}

void cell_stack(const std::vector<const autometa::CellStack*>& stacks, Address x, const std::array<int64_t, 5>& x_step,
                Address labels, Address params, int64_t params_row, Address losses, Address logits, Address dparams,
                int64_t dparams_row, int threads) {
    for (const autometa::CellStack* stack : stacks) require(stack != nullptr, "stacks: one is None");
    const auto slots = static_cast<int64_t>(stacks.size());
    require(params_row >= 0 && dparams_row >= 0, "params: the distance of rows is negative");
    autometa::CellStack::Input input{of<float>(x, {slots}, "x"), {}, of<int64_t>(labels, {slots}, "labels"),
                                     of<float>(params, {slots}, "params"), params_row};
    std::copy(x_step.begin(), x_step.end(), input.x_step);
    autometa::cell_stack(stacks, input, of<float>(losses, {slots}, "losses"), of<float>(logits, {slots}, "logits"),
                         at<float>(dparams), dparams_row, threads);
}

}  // namespace

void bind_stacks(py::module_& m) {
    using release = py::call_guard<py::gil_scoped_release>;
    py::class_<autometa::ConvStack::Input>(m, "StackInput", "Images and parameters of conv_stack.")
        .def(py::init(&stack_input));
    py::class_<autometa::ConvStack>(m, "ConvStack", "Shapes of conv_stack.")
        .def(py::init(&conv_stack_of))
        .def_property_readonly("columns", &autometa::ConvStack::columns)
        .def_property_readonly("saved", &autometa::ConvStack::saved);
    m.def("conv_stack", &conv_stack, release());
    m.def("conv_stack_backward", &conv_stack_backward, release());
    py::class_<autometa::CellStack>(m, "CellStack", "The steps of a network of cells, for batches of one size.")
        .def(py::init(&cell_stack_of));
    m.def("cell_stack", &cell_stack, release());
}
