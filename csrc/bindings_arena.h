// The Python face of the ops on arenas and episodes, which both modules have. Whoever includes this has named before:
// `ops`, the namespace of the entry points; `Where`, what Python hands over last, and `ops::on`, what it stands for: the
// number of threads, or the stream.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>

#include "addresses.h"
#include "arena.h"

namespace {

using autometa::Address;
using autometa::Arena;
using autometa::at;
using autometa::elements;
using autometa::of;
using autometa::require;

template <size_t n>
using Addresses = std::array<Address, n>;
template <size_t n>
using Sizes = std::array<int64_t, n>;

// sizes: slots, row, groups, layouts, kinds.
Arena arena_of(const Addresses<3>& tables, const Sizes<5>& sizes) {
    const auto [bounds, groups_of, layouts_of] = tables;
    const auto [slots, row, groups, layouts, kinds] = sizes;
    require(kinds >= 1 && groups >= 0 && row >= 0, "bounds: there must be a kind, and no size may be negative");
    return {of<int64_t>(bounds, {layouts, kinds + 1}, "bounds"),
            of<int64_t>(groups_of, {slots}, "group_of_slot"),
            of<int64_t>(layouts_of, {slots}, "layout_of_slot"),
            slots,
            row,
            groups,
            layouts,
            kinds};
}

// A tensor of the arena's rows; of a number for every slot, or group, and kind.
template <class T>
T* rows(const Arena& a, Address address, const char* what) {
    return of<T>(address, {a.slots, a.row}, what);
}
template <class T>
T* by_slot(const Arena& a, Address address, const char* what) {
    return of<T>(address, {a.slots, a.kinds}, what);
}
const double* by_group(const Arena& a, Address address, const char* what) {
    return of<double>(address, {a.groups, a.kinds}, what);
}

template <class T>
void adam(const Addresses<7>& tensors, const Arena& a, const std::array<double, 3>& constants, Where where) {
    const auto [phi, grad, second, first, steps, lr, weight_decay] = tensors;
    const auto [beta1, beta2, eps] = constants;
    require(first != 0 || beta1 == 0 || elements("phi", {a.slots, a.row}) == 0, "first: without it beta1 must be 0");
    ops::adam<T>(rows<T>(a, phi, "phi"), rows<T>(a, grad, "grad"), rows<T>(a, second, "second"), at<T>(first),
                 by_slot<int64_t>(a, steps, "steps"), by_group(a, lr, "lr"),
                 by_group(a, weight_decay, "weight_decay"), a, {beta1, beta2, eps}, ops::on(where));
}

template <class T>
void sgd(const Addresses<5>& tensors, const Arena& a, double momentum, Where where) {
    const auto [phi, grad, velocity, lr, weight_decay] = tensors;
    require(velocity != 0 || momentum == 0 || elements("phi", {a.slots, a.row}) == 0,
            "velocity: without it momentum must be 0");
    ops::sgd<T>(rows<T>(a, phi, "phi"), rows<T>(a, grad, "grad"), at<T>(velocity), by_group(a, lr, "lr"),
                by_group(a, weight_decay, "weight_decay"), a, momentum, ops::on(where));
}

template <class T>
void reptile(const Addresses<4>& tensors, const Arena& a, Where where) {
    const auto [theta, phi, step_size, finite] = tensors;
    ops::reptile<T>(of<T>(theta, {a.groups, a.row}, "theta"), rows<T>(a, phi, "phi"),
                    by_group(a, step_size, "step_size"), of<bool>(finite, {a.slots}, "finite"), a, ops::on(where));
}

template <class T>
int64_t clip_grad_scratch(const Arena& a) {
    return ops::clip_grad_scratch<T>(a.slots, a.row, a.kinds);
}

template <class T>
void clip_grad(const Addresses<4>& tensors, const Arena& a, Where where) {
    const auto [grad, norms, max_norm, partial] = tensors;
    ops::clip_grad<T>(rows<T>(a, grad, "grad"), by_slot<T>(a, norms, "norms"), by_group(a, max_norm, "max_norm"),
                      of<double>(partial, {clip_grad_scratch<T>(a)}, "partial"), a, ops::on(where));
}

template <class T>
void finite_slots(const Addresses<2>& tensors, const Sizes<2>& shape, Where where) {
    const auto [slots, row] = shape;
    ops::finite_slots<T>(of<T>(tensors[0], {slots, row}, "phi"), of<bool>(tensors[1], {slots}, "finite"), slots, row,
                         ops::on(where));
}

void sample_tasks(const Addresses<7>& tensors, const Sizes<8>& sizes, uint32_t seed, Where where) {
    const auto [class_start, classes, group_start, task_ids, image, rotation, chosen] = tensors;
    const auto [all_classes, selectable, groups, tasks, rotations, ways, shots, queries] = sizes;
    require(rotations >= 1 && shots >= 0 && queries >= 0 && elements("classes", {selectable, rotations}) >= ways,
            "sample_tasks: fewer classes than ways, or a negative size");
    require(groups >= 1, "group_start: there must be a group");
    require(selectable == 0 || all_classes >= 0, "class_start: it must have an entry per class and one more");
    ops::sample_tasks(of<int64_t>(class_start, {selectable, all_classes}, "class_start"), all_classes,
                      of<int64_t>(classes, {selectable}, "classes"), selectable,
                      of<int64_t>(group_start, {groups + 1}, "group_start"), groups,
                      of<int64_t>(task_ids, {tasks}, "task_ids"), tasks, {rotations, ways, shots, queries}, seed,
                      of<int64_t>(image, {tasks, ways, shots + queries}, "image"),
                      of<int64_t>(rotation, {tasks, ways}, "rotation"), of<int64_t>(chosen, {tasks, ways}, "chosen"),
                      ops::on(where));
}

void batch_indices(const Addresses<2>& tensors, const Sizes<5>& sizes, bool passes, uint32_t seed, Where where) {
    const auto [tasks, items, batch, steps, first_step] = sizes;
    require(items >= 1 && first_step >= 0, "batch_indices: there must be items, and no size may be negative");
    ops::batch_indices(of<int64_t>(tensors[0], {tasks}, "task_ids"), tasks, {items, batch, steps, first_step}, passes,
                       seed, of<int64_t>(tensors[1], {tasks, steps, batch}, "index"), ops::on(where));
}

template <class T>
void drop_masks(const Addresses<3>& tensors, const Sizes<4>& sizes, const std::array<double, 2>& limits, uint32_t seed,
                Where where) {
    const auto [task_ids, exempt, mask] = tensors;
    const auto [tasks, images, instances, first_image] = sizes;
    const auto [limit, kept] = limits;
    require(first_image >= 0, "drop_masks: no size may be negative");
    ops::drop_masks<T>(of<int64_t>(task_ids, {tasks}, "task_ids"), tasks, of<bool>(exempt, {instances}, "exempt"),
                       {images, instances, first_image, limit, kept}, seed,
                       of<T>(mask, {tasks, images, instances}, "mask"), ops::on(where));
}

void gather_images(const Addresses<6>& tensors, const Sizes<5>& sizes, Where where) {
    const auto [images, index, rotation, scale, shift, out] = tensors;
    const auto [count, channels, height, width, picks] = sizes;
    ops::gather_images(of<uint8_t>(images, {count, channels, height, width}, "images"),
                       {count, channels, height, width}, of<int64_t>(index, {picks}, "index"),
                       of<int64_t>(rotation, {picks}, "rotation"), picks, of<float>(scale, {channels}, "scale"),
                       of<float>(shift, {channels}, "shift"),
                       of<float>(out, {picks, channels, height, width}, "out"), ops::on(where));
}

void augment_images(const Addresses<4>& tensors, const Sizes<5>& sizes, const std::array<double, 10>& most,
                    uint32_t seed, Where where) {
    const auto [images, task_ids, place, out] = tensors;
    const auto [tasks, picks, channels, height, width] = sizes;
    const auto [shift, scale, half_turn, shear, thickness, blur, contrast, brightness, noise, invert] = most;
    ops::augment_images(of<float>(images, {tasks, picks, channels, height, width}, "images"),
                        {tasks, picks, channels, height, width}, of<int64_t>(task_ids, {tasks}, "task_ids"),
                        of<int64_t>(place, {tasks, picks}, "place"),
                        {shift, scale, half_turn, shear, thickness, blur, contrast, brightness, noise, invert}, seed,
                        of<float>(out, {tasks, picks, channels, height, width}, "out"), ops::on(where));
}

// Both instances of a function, chosen by an argument `is_double` behind the first.
template <class Result, class First, class... Args>
auto typed(Result (*single)(First, Args...), Result (*precise)(First, Args...)) {
    return [=](First first, bool is_double, Args... args) { return (is_double ? precise : single)(first, args...); };
}

void bind_arena(pybind11::module_& m) {
    using release = pybind11::call_guard<pybind11::gil_scoped_release>;
    pybind11::class_<Arena>(m, "Arena", pybind11::module_local(), "Tables of an arena; held alive by autometa.ops.rows.")
        .def(pybind11::init(&arena_of));
    m.def("adam", typed(&adam<float>, &adam<double>), release());
    m.def("sgd", typed(&sgd<float>, &sgd<double>), release());
    m.def("reptile", typed(&reptile<float>, &reptile<double>), release());
    m.def("clip_grad", typed(&clip_grad<float>, &clip_grad<double>), release());
    m.def("clip_grad_scratch", typed(&clip_grad_scratch<float>, &clip_grad_scratch<double>),
          "Doubles that clip_grad needs as its last tensor.");
    m.def("finite_slots", typed(&finite_slots<float>, &finite_slots<double>), release());
    m.def("sample_tasks", &sample_tasks, release());
    m.def("batch_indices", &batch_indices, release());
    m.def("drop_masks", typed(&drop_masks<float>, &drop_masks<double>), release());
    m.def("gather_images", &gather_images, release());
    m.def("augment_images", &augment_images, release());
}

}  // namespace
