#include <algorithm>

#include "autometa.h"
#include "check.h"
#include "philox.h"

namespace autometa_test {

namespace {

bool distinct(Integers values) {
    std::sort(values.begin(), values.end());
    return std::adjacent_find(values.begin(), values.end()) == values.end();
}

void test_tasks() {
    const Integers start{0, 20, 40, 45, 60}, classes{0, 1, 3}, ids{7, 0, 123456789};
    const autometa::TaskShape shape{4, 5, 2, 3};
    const Integers whole{0, 3}, one_class{0, 1};
    Integers image(3 * 5 * 5), rotation(15), chosen(15), one(25), its_rotation(5), its_chosen(5);
    autometa::sample_tasks(start.data(), 4, classes.data(), 3, whole.data(), 1, ids.data(), 3, shape, 9, image.data(), rotation.data(),
                           chosen.data());
    for (int64_t task = 0; task < 3; ++task) {
        expect(distinct(piece(chosen, task, 3)), "classes of a task differ");
        autometa::sample_tasks(start.data(), 4, classes.data(), 3, whole.data(), 1, ids.data() + task, 1, shape, 9, one.data(),
                               its_rotation.data(), its_chosen.data());
        expect(one == piece(image, task, 3) && its_chosen == piece(chosen, task, 3), "a task alone");
    }
    for (int64_t way = 0; way < 15; ++way) {
        const int64_t real = classes[size(chosen[size(way)] % 3)];
        const Integers own = piece(image, way, 15);
        bool inside = distinct(own);
        for (const int64_t i : own) inside = inside && i >= start[size(real)] && i < start[size(real + 1)];
        expect(inside && rotation[size(way)] == chosen[size(way)] / 3, "images of their class, each once");
    }
    const int64_t small = 2, beyond = 4, negative = -1;
    const auto sample = [&](const int64_t* from, const int64_t* id) {
        autometa::sample_tasks(start.data(), 4, from, 1, one_class.data(), 1, id, 1, {1, 1, 3, 3}, 0, image.data(), rotation.data(),
                               chosen.data());
    };
    expect_refusal([&] { sample(&small, ids.data()); }, "has 5");
    expect_refusal([&] { sample(&beyond, ids.data()); }, "classes");
    expect_refusal([&] { sample(classes.data(), &negative); }, "task_ids");
    const Integers two{0, 2, 3}, falls{0, 4, 3}, early{0, 1, 2};
    const autometa::TaskShape small_tasks{4, 3, 2, 1};
    const auto grouped = [&](const Integers& groups, autometa::TaskShape wanted) {
        autometa::sample_tasks(start.data(), 4, classes.data(), 3, groups.data(), 2, ids.data(), 3, wanted, 9,
                               image.data(), rotation.data(), chosen.data());
    };
    grouped(two, small_tasks);
    for (int64_t task = 0; task < 3; ++task)
        for (int64_t way = 1; way < 3; ++way)
            expect((chosen[size(task * 3 + way)] % 3 < 2) == (chosen[size(task * 3)] % 3 < 2), "a task within a group");
    expect_refusal([&] { grouped(two, {1, 2, 1, 1}); }, "too few classes");
    expect_refusal([&] { grouped(falls, small_tasks); }, "too few classes");
    expect_refusal([&] { grouped(early, small_tasks); }, "group_start");
}

void test_batches() {
    const Integers ids{3, 4};
    Integers index(2 * 6 * 5), later(2 * 3 * 5);
    for (const bool passes : {false, true}) {
        autometa::batch_indices(ids.data(), 2, {10, 5, 6, 0}, passes, 1, index.data());
        autometa::batch_indices(ids.data(), 2, {10, 5, 3, 3}, passes, 1, later.data());
        expect(piece(later, 0, 2) == piece(index, 1, 4) && piece(later, 1, 2) == piece(index, 3, 4), "steps 3 to 5");
        for (int64_t pass = 0; pass < 6 && passes; ++pass)
            expect(distinct(piece(index, pass, 6)), "a pass visits each item once");
        for (const int64_t i : index) expect(i >= 0 && i < 10, "an index");
    }
    const int64_t negative = -1;
    expect_refusal([&] { autometa::batch_indices(&negative, 1, {10, 5, 1, 0}, true, 1, index.data()); }, "task_ids");
}

void test_images() {
    std::vector<uint8_t> images(2 * 3 * 5 * 5);
    for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<uint8_t>(i);
    const Integers index{1, 1, 0, 1, 1}, rotation{0, 1, 6, -1, 4};
    const Floats scale{1.0f, 2.0f, 0.5f}, shift{0.0f, -1.0f, 3.0f};
    Floats out(5 * 75, kNan);
    autometa::gather_images(images.data(), {2, 3, 5, 5}, index.data(), rotation.data(), 5, scale.data(), shift.data(),
                            out.data(), 2);
    bool plain = true, turned = true, back = true;
    for (int64_t c = 0; c < 3; ++c)
        for (int64_t y = 0; y < 5; ++y)
            for (int64_t x = 0; x < 5; ++x) {
                const size_t at = size((c * 5 + y) * 5 + x), corner = size((c * 5 + x) * 5 + 4 - y);
                plain = plain && out[at] == static_cast<float>(images[75 + at]) * scale[size(c)] + shift[size(c)];
                turned = turned && out[75 + at] == out[corner];
                back = back && out[225 + corner] == out[at];
            }
    expect(plain && turned && back, "images scaled and turned");
    expect(same_bits(piece(out, 0, 5), piece(out, 4, 5)), "four quarters are none");
    const auto gather = [&](autometa::ImageShape shape, int64_t pick, int64_t quarters) {
        autometa::gather_images(images.data(), shape, &pick, &quarters, 1, scale.data(), shift.data(), out.data(), 1);
    };
    expect_refusal([&] { gather({2, 3, 5, 5}, 2, 0); }, "index");
    expect_refusal([&] { gather({1, 3, 10, 5}, 0, 1); }, "square");
}

void test_augmented() {
    const Floats images(2 * 9, 0.25f);
    const int64_t id = 3, negative = -1;
    const Integers place{0, 1}, bad{0, -1};
    Floats out(18, kNan);
    const auto augment = [&](const int64_t* ids, const Integers& places, const autometa::AugmentRanges& most) {
        autometa::augment_images(images.data(), {1, 2, 1, 3, 3}, ids, places.data(), most, 0, out.data(), 2);
    };
    augment(&id, place, {0.3, 0.2, 0.1, 0.1, 0.5, 0.5, 0, 0, 0, 0});
    expect(same_bits(out, images), "an even image, moved, thickened and blurred, stays");
    augment(&id, place, {0, 0, 0, 0, 0, 0, 0, 0, 0, 1.0});
    expect(same_bits(out, Floats(18, 0.75f)), "an inverted image");
    expect_refusal([&] { augment(&negative, place, {}); }, "task_ids");
    expect_refusal([&] { augment(&id, bad, {}); }, "place");
}

}  // namespace

void test_episodes() {
    const autometa::PhiloxWords words = autometa::philox({{0, 0, 0, 0}}, 0, 0);
    expect(words.word[0] == 0x6627e8d5 && words.word[3] == 0x9b00dbd8, "published vector of Philox-4x32-10");
    test_tasks();
    test_batches();
    test_images();
    test_augmented();
}

}  // namespace autometa_test
