// The CUDA kernels of episodes and drop path, run on the host, against the C++ core: the same integers and bits.
#include <memory>

#include "../../csrc/augment_images/body.h"
#include "../../csrc/batch_indices/body.h"
#include "../../csrc/drop_masks/body.h"
#include "../../csrc/gather_images/body.h"
#include "../../csrc/sample_tasks/body.h"
#include "autometa.h"
#include "check.h"
#include "host_block.h"

namespace autometa_test {

namespace {

using namespace autometa::cuda;

const Integers kIds{7, 0, (int64_t{1} << 40) + 3};

void test_tasks(const autometa::TaskShape& shape, int64_t per_class, const Integers& groups = {0, 69}) {
    Integers start(1, 0), classes;
    for (int64_t c = 0; c < 90; ++c) start.push_back(start.back() + per_class + c % 3);
    for (int64_t c = 89; c > 20; --c) classes.push_back(c);
    const int64_t count = static_cast<int64_t>(groups.size()) - 1;
    const int64_t tasks = 3, pairs = tasks * shape.ways, images = pairs * (shape.shots + shape.queries);
    Integers image(size(images)), rotation(size(pairs)), chosen(size(pairs));
    autometa::sample_tasks(start.data(), 90, classes.data(), 69, groups.data(), count, kIds.data(), tasks, shape, 9,
                           image.data(), rotation.data(), chosen.data());
    for (const bool backwards : {false, true}) {
        Integers found(size(images), -1), turns(size(pairs), -1), drawn(size(pairs), -1);
        run_on_host(SampleBody{start.data(), 90, classes.data(), 69, groups.data(), count, kIds.data(), tasks, shape, 9,
                               found.data(), turns.data(), drawn.data()}, backwards);
        expect(found == image && turns == rotation && drawn == chosen,
               "the tasks of the kernel, " + std::to_string(shape.ways) + " ways");
    }
}

void test_batches() {
    for (const bool passes : {false, true})
        for (const int64_t items : {1, 2, 13, 200})
            for (const int64_t first_step : {0, 3}) {
                const autometa::BatchShape shape{items, 7, 60, first_step};
                Integers expected(3 * 60 * 7), found(expected.size(), -1);
                autometa::batch_indices(kIds.data(), 3, shape, passes, 4, expected.data());
                run_on_host(BatchBody{kIds.data(), 3, shape, passes, 4, found.data()}, false);
                expect(found == expected, "the batches of the kernel, " + std::to_string(items) + " items");
            }
}

template <class T>
void test_masks() {
    const bool exempt[] = {false, true, false, false, false, true, false};
    for (const int64_t first_image : {0, 1, 2, 3, 40})
        for (const int64_t images : {0, 1, 5, 300}) {
            const autometa::MaskShape shape{images, 7, first_image, 0.8 * 4294967296.0, 1.25};
            std::vector<T> expected(size(3 * images * 7)), found(expected.size(), T(-1));
            autometa::drop_masks<T>(kIds.data(), 3, exempt, shape, 4, expected.data());
            run_on_host(DropBody<T>{kIds.data(), 3, exempt, shape, 4, found.data()}, false);
            expect(found == expected, "the masks of the kernel, image " + std::to_string(first_image));
        }
}

void test_images(const autometa::ImageShape& shape, bool shifted) {
    const int64_t each = shape.channels * shape.height * shape.width, picks = 9;
    std::vector<uint8_t> images(size(shape.count * each + shifted));
    for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<uint8_t>(i * 37 % 251);
    Integers index{0, 1, 2, 1, 0, 2, 2, 1, 0}, rotation{0, 1, 2, 3, 4, -1, -2, 7, 1};
    if (shape.height != shape.width)
        for (int64_t& quarters : rotation) quarters *= 2;
    const Floats scale{1.0f / 255, 0.3f, 0.7f}, shift{0.0f, -1.0f, 0.1f};
    Floats expected(size(picks * each)), found(expected.size(), kNan);
    autometa::gather_images(images.data() + shifted, shape, index.data(), rotation.data(), picks, scale.data(),
                            shift.data(), expected.data(), 1);
    GatherBody body{images.data() + shifted, shape, index.data(), rotation.data(), picks, scale.data(), shift.data(),
                    found.data(), !shifted && rows_aligned<float>(each, found.data())};
    run_on_host(body, false);
    expect(same_bits(found, expected), "the images of the kernel, " + std::to_string(shape.height));
}

void test_augmented(const autometa::AugmentShape& shape, const autometa::AugmentRanges& most) {
    const int64_t picks = shape.tasks * shape.picks, each = shape.channels * shape.height * shape.width;
    Floats images(size(picks * each));
    for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(i * 37 % 251) / 255.0f;
    Integers place;
    for (int64_t i = 0; i < picks; ++i) place.push_back(i * 5 % 11);
    Floats expected(size(picks * each)), found(expected.size(), kNan);
    autometa::augment_images(images.data(), shape, kIds.data(), place.data(), most, 6, expected.data(), 1);
    run_on_host(AugmentBody{images.data(), shape, kIds.data(), place.data(), most, 6, found.data()}, false);
    expect(same_bits(found, expected), "the changed images of the kernel, " + std::to_string(shape.height));
}

void test_out_of_range() {
    const std::vector<uint8_t> images(2 * 3 * 5, 9);
    const Integers index{-1, 2, 1 << 30, 1}, rotation{1, 3, 0, 1};
    const float scale = 1.0f, shift = 0.0f;
    Floats out(4 * 15, kNan);
    run_on_host(GatherBody{images.data(), {2, 1, 3, 5}, index.data(), rotation.data(), 4, &scale, &shift, out.data(),
                           false}, false);
    bool nines = true;
    for (const float value : out) nines = nines && value == 9.0f;
    expect(nines, "indices out of range read what is there");
    const Integers start{0, 2, 9}, classes{-4, 88}, whole{0, 2}, ids{-1};
    Integers image(6), turns(2), drawn(2);
    run_on_host(SampleBody{start.data(), 2, classes.data(), 2, whole.data(), 1, ids.data(), 1, {1, 2, 2, 1}, 0,
                           image.data(), turns.data(), drawn.data()}, false);
    expect(drawn[0] != drawn[1], "classes out of range are read as ones that exist");
}

}  // namespace

void test_cuda_episodes() {
    test_tasks({4, 5, 1, 1}, 20);
    test_tasks({1, 20, 10, 5}, 15);
    test_tasks({4, 3, 0, 0}, 1);
    test_tasks({4, 20, 1, 1}, 20, {0, 5, 40, 69});
    test_tasks({4, 270, 10, 4}, 14);  // more than shared memory holds
    test_batches();
    test_masks<float>();
    test_masks<double>();
    for (const bool shifted : {false, true}) {
        test_images({3, 1, 28, 28}, shifted);
        test_images({3, 3, 17, 17}, shifted);
        test_images({3, 2, 1, 1}, shifted);
        test_images({3, 3, 40, 40}, shifted);
        test_images({3, 2, 9, 6}, shifted);
    }
    for (const autometa::AugmentShape& shape :
         {autometa::AugmentShape{3, 4, 1, 28, 28}, {2, 3, 3, 7, 9}, {1, 2, 2, 1, 1}}) {
        test_augmented(shape, {0.1, 0.2, 0.2, 0.3, 0.5, 0.7, 0.5, 0.1, 0.1, 0.5});
        test_augmented(shape, {0.1, 0, 0, 0, 0, 0, 0, 0, 0, 0});
        test_augmented(shape, {0, 0, 0, 0, 0.5, 0, 0, 0, 0, 0});
        test_augmented(shape, {0, 0, 0, 0, 0, 0.5, 0, 0, 0.2, 0});
    }
    test_out_of_range();
}

}  // namespace autometa_test
