// The CUDA kernels of the arena, run on the host, against the C++ core: the same bits where the order of sums is one.
#include <algorithm>

#include "../../csrc/adam/body.h"
#include "../../csrc/clip_grad/body.h"
#include "../../csrc/finite_slots/body.h"
#include "../../csrc/reptile/body.h"
#include "../../csrc/sgd/body.h"
#include "autometa.h"
#include "check.h"
#include "host_block.h"

namespace autometa_test {

namespace {

using namespace autometa::cuda;

constexpr Order kOrders[] = {Order::forwards, Order::backwards, Order::at_once};

// Rows that 16 bytes divide and rows that they do not, edges inside a vector, gaps, more slots than threads.
struct Case {
    const char* name;
    int64_t row, groups, kinds;
    Integers bounds, group, layout;  // layouts follow from the groups

    int64_t slots() const { return static_cast<int64_t>(group.size()); }
    autometa::Arena arena() const {
        return {bounds.data(), group.data(), layout.data(), slots(), row, groups,
                static_cast<int64_t>(bounds.size()) / (kinds + 1), kinds};
    }
    Case only(int64_t slot) const {
        return {name, row, groups, kinds, bounds, {group[size(slot)]}, {layout[size(slot)]}};
    }
    bool live(int64_t layout_number, int64_t column) const {
        const int64_t* edges = bounds.data() + layout_number * (kinds + 1);
        return column >= edges[0] && column < edges[kinds];
    }
    // Random numbers, NaN in the padding of the slots' rows.
    template <class T>
    std::vector<T> random(Random& from) const {
        std::vector<T> made(size(slots() * row));
        for (int64_t i = 0; i < slots() * row; ++i)
            made[size(i)] = live(layout[size(i / row)], i % row) ? static_cast<T>(from()) : static_cast<T>(kNan);
        return made;
    }
    std::vector<double> per_group(double least) const {
        std::vector<double> made(size(groups * kinds));
        for (size_t i = 0; i < made.size(); ++i) made[i] = least * (1.0 + 0.3 * static_cast<double>(i));
        return made;
    }
};

std::vector<Case> cases() {
    Case many{"many slots", 32, 3, 1, {0, 32}, Integers(600), Integers(600, 0)};
    for (size_t i = 0; i < 600; ++i) many.group[i] = static_cast<int64_t>(i * i % 3);
    return {{"one element", 1, 1, 2, {0, 1, 1}, {0}, {0}},
            {"aligned", 4672, 1, 2, {0, 4640, 4672}, {0, 0, 0}, {0, 0, 0}},
            {"odd edges", 2112, 2, 3, {3, 17, 2050, 2101, 0, 0, 31, 33}, {1, 0, 1, 1}, {1, 0, 1, 1}},
            {"odd row", 4099, 3, 2, {3, 2500, 4090, 0, 17, 33}, {2, 0, 1, 0, 2}, {0, 1, 0, 1, 0}},
            {"gaps between layouts", 64, 1, 1, {16, 48}, {0, 0}, {0, 0}},
            {"more kinds than a block takes at once", 5000, 1, 10,
             {2, 2, 700, 2047, 2048, 2048, 4095, 4097, 4097, 4099, 5000}, {0, 0}, {0, 0}},
            many};
}

template <class T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <class T>
struct AdamState {
    std::vector<T> phi, grad, second, first;
    Integers steps;
    std::vector<double> lr, decay;

    AdamState(const Case& of, Random& random)
        : phi(of.random<T>(random)), grad(of.random<T>(random)), second(of.random<T>(random)),
          first(of.random<T>(random)), steps(size(of.slots() * of.kinds), 3), lr(of.per_group(1e-3)),
          decay(of.per_group(1e-2)) {
        for (T& x : second) x = std::fabs(x);
        if (of.groups > 1) lr[1] = 0.0;
    }

    AdamState only(int64_t slot, int64_t slots) const {
        AdamState alone = *this;
        for (auto* x : {&alone.phi, &alone.grad, &alone.second, &alone.first}) *x = piece(*x, slot, slots);
        alone.steps = piece(steps, slot, slots);
        return alone;
    }

    void on_cpu(const Case& of, bool with_first) {
        autometa::adam<T>(phi.data(), grad.data(), second.data(), with_first ? first.data() : nullptr, steps.data(),
                          lr.data(), decay.data(), of.arena(), {with_first ? 0.5 : 0.0, 0.999, 1e-8}, 1);
    }

    void by_body(const Case& of, bool with_first, Order order) {
        const AdamRule<T> rule{steps.data(), lr.data(), decay.data(), {with_first ? 0.5 : 0.0, 0.999, 1e-8}};
        const bool aligned = rows_aligned<T>(of.row, phi.data(), second.data(), first.data(), grad.data());
        if (with_first)
            run_in(order, RowUpdate<T, 3, AdamRule<T>>{{phi.data(), second.data(), first.data()}, grad.data(), rule,
                                                       of.arena(), aligned});
        else
            run_in(order, RowUpdate<T, 2, AdamRule<T>>{{phi.data(), second.data()}, grad.data(), rule, of.arena(),
                                                       aligned});
    }

    bool equals(const AdamState& other) const {
        return same(phi, other.phi) && same(second, other.second) && same(first, other.first) && steps == other.steps;
    }
};

template <class T>
void test_adam(const Case& of, Random& random) {
    const AdamState<T> before(of, random);
    for (const bool with_first : {false, true}) {
        AdamState<T> expected = before;
        expected.on_cpu(of, with_first);
        expect(!same(expected.phi, before.phi), "Adam moves the parameters");
        for (const Order order : kOrders) {
            AdamState<T> found = before;
            found.by_body(of, with_first, order);
            expect(found.equals(expected), std::string("the bits of Adam, ") + of.name);
        }
        AdamState<T> alone = before.only(of.slots() - 1, of.slots());
        alone.by_body(of.only(of.slots() - 1), with_first, Order::forwards);
        expect(alone.equals(expected.only(of.slots() - 1, of.slots())), std::string("Adam of one slot, ") + of.name);
    }
}

// Kinds without columns count theirs too; counts go up to 2^32 - 1.
template <class T>
void test_steps_are_counted_once(const Case& of, Random& random) {
    AdamState<T> expected(of, random), found = expected;
    for (size_t i = 0; i < expected.steps.size(); ++i) expected.steps[i] = static_cast<int64_t>(i % 3 * 2147483645);
    found.steps = expected.steps;
    for (int step = 0; step < 4; ++step) {
        expected.on_cpu(of, false);
        found.by_body(of, false, kOrders[step % 3]);
        expect(found.steps == expected.steps, std::string("steps of Adam, ") + of.name);
    }
    expect(found.equals(expected), std::string("four steps of Adam, ") + of.name);
}

template <class T>
void test_sgd(const Case& of, Random& random) {
    const std::vector<T> phi = of.random<T>(random), grad = of.random<T>(random), start = of.random<T>(random);
    const std::vector<double> lr = of.per_group(0.1), decay = of.per_group(0.01);
    for (const bool with_velocity : {false, true})
        for (const Order order : kOrders) {
            std::vector<T> p = phi, q = phi, v = start, w = start;
            autometa::sgd<T>(p.data(), grad.data(), with_velocity ? v.data() : nullptr, lr.data(), decay.data(),
                             of.arena(), with_velocity ? 0.9 : 0.0, 1);
            const SgdRule<T> rule{lr.data(), decay.data(), 0.9};
            const bool aligned = rows_aligned<T>(of.row, q.data(), grad.data(), w.data());
            if (with_velocity)
                run_in(order, RowUpdate<T, 2, SgdRule<T>>{{q.data(), w.data()}, grad.data(), rule, of.arena(), aligned});
            else
                run_in(order, RowUpdate<T, 1, SgdRule<T>>{{q.data()}, grad.data(), rule, of.arena(), aligned});
            expect(same(p, q) && same(v, w) && !same(p, phi), std::string("the bits of SGD, ") + of.name);
        }
}

template <class T>
void clip(const Case& of, std::vector<T>& grad, std::vector<T>& norms, const std::vector<double>& limit,
          Order order) {
    std::vector<double> partial(size(of.slots() * of.kinds * ClipTiles<T>(of.row).per_row), static_cast<double>(kNan));
    const bool aligned = rows_aligned<T>(of.row, grad.data());
    run_in(order, SquaresBody<T>{grad.data(), partial.data(), of.arena(), aligned},
           ClipBody<T>{grad.data(), norms.data(), limit.data(), partial.data(), of.arena(), aligned});
}

template <class T>
void test_clip(const Case& of, Random& random) {
    const double tolerance = sizeof(T) == 4 ? 2e-7 : 1e-13;
    const std::vector<T> grad = of.random<T>(random);
    const std::vector<double> limit = of.per_group(0.5);
    std::vector<T> norms(size(of.slots() * of.kinds), kNan), expected_norms = norms, one(size(of.kinds), kNan);
    std::vector<T> expected = grad, found = grad, alone = piece(grad, of.slots() - 1, of.slots());
    autometa::clip_grad<T>(expected.data(), expected_norms.data(), limit.data(), of.arena(), 1);
    clip(of, found, norms, limit, Order::forwards);
    clip(of.only(of.slots() - 1), alone, one, limit, Order::forwards);
    bool close = true;
    for (size_t i = 0; i < found.size(); ++i)
        close = close && (std::isnan(expected[i]) ? std::isnan(found[i]) : near(found[i], expected[i], tolerance));
    for (size_t i = 0; i < norms.size(); ++i) close = close && near(norms[i], expected_norms[i], tolerance);
    expect(close && (of.row == 1 || !same(expected, grad)), std::string("clipped gradients, ") + of.name);
    for (const Order order : {Order::backwards, Order::at_once}) {
        std::vector<T> again = grad, its_norms(norms.size(), kNan);
        clip(of, again, its_norms, limit, order);
        expect(same(found, again) && same(norms, its_norms), std::string("threads that clip, ") + of.name);
    }
    expect(same(alone, piece(found, of.slots() - 1, of.slots())), std::string("clipping one slot, ") + of.name);
}

template <class T>
void test_reptile(const Case& of, Random& random) {
    const Case per_group{of.name, of.row, of.groups, of.kinds, of.bounds, Integers(size(of.groups)),
                         Integers(size(of.groups), 0)};
    const std::vector<T> theta = per_group.random<T>(random), phi = of.random<T>(random);
    const std::vector<double> step_size = of.per_group(0.3);
    const auto finite = std::make_unique<bool[]>(size(of.slots()));
    for (int64_t s = 0; s < of.slots(); ++s) finite[size(s)] = s % 4 != 1;
    std::vector<T> expected = theta;
    autometa::reptile<T>(expected.data(), phi.data(), step_size.data(), finite.get(), of.arena(), 1);
    for (const Order order : kOrders) {
        std::vector<T> found = theta;
        run_in(order, ReptileBody<T>{found.data(), phi.data(), step_size.data(), finite.get(), of.arena(),
                                     rows_aligned<T>(of.row, found.data(), phi.data())});
        expect(same(found, expected) && !same(found, theta), std::string("the bits of Reptile, ") + of.name);
    }
}

template <class T>
void test_finite() {
    for (const int64_t row : {1, 7, 64, 4099, 4160})
        for (const int64_t place : {int64_t{0}, row / 2, row - 1}) {
            std::vector<T> phi(size(3 * row), std::numeric_limits<T>::max());
            phi[size(row + place)] = place % 2 ? static_cast<T>(kNan) : -std::numeric_limits<T>::infinity();
            for (const Order order : {Order::forwards, Order::backwards}) {
                bool found[] = {false, true, false};
                run_in(order, TrueBody{found, 3},
                       FiniteBody<T>{phi.data(), found, 3, row, rows_aligned<T>(row, phi.data())});
                expect(found[0] && !found[1] && found[2], "finite_slots, row " + std::to_string(row));
            }
        }
}

// Nothing outside the tensors is touched, which the sanitizer would see, whatever the tables say.
template <class T>
void test_wild_tables(Random& random) {
    Case wild{"wild tables", 33, 2, 2, {-5, 20, 900, 30, 4, 70}, {7, -1, 0}, {0, 0, 0}};
    const std::vector<T> values = wild.random<T>(random);
    AdamState<T> state(wild, random);
    wild.layout = {9, -9, 1};
    std::vector<T> phi = values, norms(6);
    const Integers before = state.steps;
    state.by_body(wild, true, Order::forwards);
    for (size_t i = 0; i < before.size(); ++i)
        expect(state.steps[i] - before[i] == 0 || state.steps[i] - before[i] == 1, "steps where tables are wild");
    clip(wild, phi, norms, wild.per_group(0.1), Order::forwards);
    const bool finite[] = {true, true, true};
    std::vector<T> theta(66, T(1));
    run_on_host(ReptileBody<T>{theta.data(), phi.data(), state.lr.data(), finite, wild.arena(), false}, false);
    expect(theta[0] != T(1), "a group that exists is updated");
}

template <class T>
void test_type() {
    Random random(5);
    for (const Case& of : cases()) {
        test_adam<T>(of, random);
        test_steps_are_counted_once<T>(of, random);
        test_sgd<T>(of, random);
        test_clip<T>(of, random);
        test_reptile<T>(of, random);
    }
    test_steps_are_counted_once<T>({"no columns", 5000, 1, 2, {4000, 4000, 4000}, {0, 0, 0}, {0, 0, 0}}, random);
    test_finite<T>();
    test_wild_tables<T>(random);
}

}  // namespace

void test_cuda_arena() {
    test_type<float>();
    test_type<double>();
}

}  // namespace autometa_test
