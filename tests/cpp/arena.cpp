#include <algorithm>

#include "autometa.h"
#include "check.h"

namespace autometa_test {

namespace {

// Two layouts of two kinds with gaps around them, three groups, five slots.
struct Rows {
    static constexpr int64_t kSlots = 5, kRow = 9001, kGroups = 3, kKinds = 2;
    Integers bounds{3, 8500, 8990, 0, 17, 33}, group{2, 0, 1, 0, 2}, layout{0, 1, 0, 1, 0};

    autometa::Arena arena() const {
        return {bounds.data(), group.data(), layout.data(), kSlots, kRow, kGroups, 2, kKinds};
    }
    bool live(int64_t slot, int64_t column) const {
        return column >= bounds[size(3 * layout[size(slot)])] && column < bounds[size(3 * layout[size(slot)] + 2)];
    }
    // What lies outside the layouts is not a number, where it may not be touched.
    template <class T>
    std::vector<T> fill(Random& random, int64_t rows, const Integers& layouts) const {
        std::vector<T> made(size(rows * kRow));
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < kRow; ++c) {
                const int64_t* edges = bounds.data() + 3 * layouts[size(r)];
                const bool inside = c >= edges[0] && c < edges[2];
                made[size(r * kRow + c)] = inside ? static_cast<T>(random()) : static_cast<T>(kNan);
            }
        return made;
    }
};

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    return std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

template <class T>
void test_adam(const Rows& rows, const std::vector<T>& phi, const std::vector<T>& grad) {
    const std::vector<double> lr{0.01, 0.0, 0.02, 0.02, 0.01, 0.01}, decay(6, 0.0);
    std::vector<T> one_thread;
    for (const int threads : {1, 3}) {
        std::vector<T> p = phi, v(phi.size()), m(phi.size());
        Integers steps(10);
        autometa::adam<T>(p.data(), grad.data(), v.data(), nullptr, steps.data(), lr.data(), decay.data(),
                          rows.arena(), {0.0, 0.999, 1e-8}, threads);
        bool signs = true;
        for (int64_t s = 0; s < Rows::kSlots; ++s)
            for (int64_t c = 0; c < Rows::kRow; ++c) {
                if (!rows.live(s, c)) continue;
                const size_t i = size(s * Rows::kRow + c);
                const bool second = c >= rows.bounds[size(3 * rows.layout[size(s)] + 1)];
                const double rate = lr[size(2 * rows.group[size(s)] + second)], gone = phi[i] - p[i];
                signs = signs && std::fabs(gone - (grad[i] > 0 ? rate : -rate)) < 1e-4;
            }
        expect(signs, "the first step of Adam has the length of the rate");
        if (threads == 1) one_thread = p;
        expect(same(p, one_thread), "adam, threads");
        autometa::adam<T>(p.data(), grad.data(), v.data(), m.data(), steps.data(), lr.data(), decay.data(),
                          rows.arena(), {0.9, 0.999, 1e-8}, threads);
        expect(steps[0] == 2 && steps[3] == 0, "steps are counted where the rate is not 0");
    }
}

template <class T>
void test_sgd_and_clip(const Rows& rows, const std::vector<T>& phi, const std::vector<T>& grad) {
    const std::vector<double> lr(6, 0.5), decay(6, 0.0), limit(6, 0.25);
    std::vector<T> p = phi, velocity(phi.size()), clipped = grad, norms(10), again(10), alone = grad;
    autometa::sgd<T>(p.data(), grad.data(), nullptr, lr.data(), decay.data(), rows.arena(), 0.0, 2);
    bool exact = true;
    for (int64_t s = 0; s < Rows::kSlots; ++s)
        for (int64_t c = 0; c < Rows::kRow; ++c) {
            const size_t i = size(s * Rows::kRow + c);
            if (rows.live(s, c)) exact = exact && p[i] == phi[i] - T(0.5) * grad[i];
        }
    expect(exact, "a step of SGD");
    autometa::sgd<T>(p.data(), grad.data(), velocity.data(), lr.data(), decay.data(), rows.arena(), 0.9, 2);
    autometa::clip_grad<T>(clipped.data(), norms.data(), limit.data(), rows.arena(), 3);
    autometa::clip_grad<T>(alone.data(), again.data(), limit.data(), rows.arena(), 1);
    expect(same(clipped, alone) && same(norms, again), "clip_grad, threads");
    autometa::clip_grad<T>(clipped.data(), again.data(), limit.data(), rows.arena(), 2);
    const T longest = *std::max_element(again.begin(), again.end());
    expect(norms[0] > T(1) && longest < T(0.2501), "no longer than the limit");
}

template <class T>
void test_reptile(const Rows& rows, Random& random) {
    const std::vector<double> whole(6, 1.0);
    std::vector<T> theta = rows.fill<T>(random, 3, {1, 0, 0}), before = theta;
    const std::vector<T> phi = rows.fill<T>(random, Rows::kSlots, rows.layout);
    const bool finite[] = {true, false, true, true, false};
    autometa::reptile<T>(theta.data(), phi.data(), whole.data(), finite, rows.arena(), 2);
    bool taken = true;
    for (int64_t group = 0; group < 3; ++group) {
        const int64_t slot = group == 0 ? 3 : group == 1 ? 2 : 0;  // the one finite slot of each group
        for (int64_t c = 0; c < Rows::kRow; ++c)
            if (rows.live(slot, c))
                taken = taken && std::fabs(theta[size(group * Rows::kRow + c)] - phi[size(slot * Rows::kRow + c)]) < 1e-6;
    }
    expect(taken, "one slot and step size 1 give that slot");
    bool found[Rows::kSlots];
    std::vector<T> clean(phi.size(), T(1));
    clean[size(2 * Rows::kRow + 8999)] = static_cast<T>(kNan);
    autometa::finite_slots<T>(clean.data(), found, Rows::kSlots, Rows::kRow, 3);
    expect(found[0] && found[1] && !found[2] && found[3] && found[4], "finite_slots");
}

template <class T>
void test_type() {
    Rows rows;
    Random random(1);
    const std::vector<T> phi = rows.fill<T>(random, Rows::kSlots, rows.layout);
    const std::vector<T> grad = rows.fill<T>(random, Rows::kSlots, rows.layout);
    test_adam<T>(rows, phi, grad);
    test_sgd_and_clip<T>(rows, phi, grad);
    test_reptile<T>(rows, random);
}

}  // namespace

void test_arena() {
    test_type<float>();
    test_type<double>();
    Rows rows;
    rows.group[1] = 3;
    expect_refusal([&] { rows.arena().check(); }, "group_of_slot");
    rows.group[1] = 0;
    rows.layout[4] = -1;
    expect_refusal([&] { rows.arena().check(); }, "layout_of_slot");
    rows.layout[4] = 0;
    rows.bounds[2] = Rows::kRow + 1;
    expect_refusal([&] { rows.arena().check(); }, "bounds");
}

}  // namespace autometa_test
