// The transforms of Winograd's F(4, 3) at the points 0, +-3/4, +-3/2 and infinity, whose errors in float32 are about
// those of the sums they replace (at +-1, +-2 almost twice as large).
// Included by isa/table.h only, once per instruction set.

namespace autometa {
namespace AUTOMETA_ISA {

// Rows are outputs, columns inputs. Products of the transformed weights and inputs, by points:
// four outputs = kOutput (kWeight w * kInput x), and the transposes of these for the gradients.
constexpr double kNear = 0.75, kFar = 1.5, kNear2 = kNear * kNear, kFar2 = kFar * kFar;
constexpr double kAtNear = 2 * kNear2 * (kNear2 - kFar2), kAtFar = 2 * kFar2 * (kFar2 - kNear2);

struct InputTransform {
    static constexpr int kIns = 6, kOuts = 6;
    static constexpr double at(int o, int i) {
        constexpr double m[6][6] = {{kNear2 * kFar2, 0, -kNear2 - kFar2, 0, 1, 0},
                                    {0, -kNear * kFar2, -kFar2, kNear, 1, 0},
                                    {0, kNear * kFar2, -kFar2, -kNear, 1, 0},
                                    {0, -kNear2 * kFar, -kNear2, kFar, 1, 0},
                                    {0, kNear2 * kFar, -kNear2, -kFar, 1, 0},
                                    {0, kNear2 * kFar2, 0, -kNear2 - kFar2, 0, 1}};
        return m[o][i];
    }
};

struct OutputTransform {
    static constexpr int kIns = 6, kOuts = 4;
    static constexpr double at(int o, int i) {
        constexpr double m[4][6] = {{1, 1, 1, 1, 1, 0},
                                    {0, kNear, -kNear, kFar, -kFar, 0},
                                    {0, kNear2, kNear2, kFar2, kFar2, 0},
                                    {0, kNear2 * kNear, -kNear2 * kNear, kFar2 * kFar, -kFar2 * kFar, 1}};
        return m[o][i];
    }
};

struct WeightTransform {
    static constexpr int kIns = 3, kOuts = 6;
    static constexpr double at(int o, int i) {
        constexpr double m[6][3] = {{1 / (kNear2 * kFar2), 0, 0},
                                    {1 / kAtNear, kNear / kAtNear, kNear2 / kAtNear},
                                    {1 / kAtNear, -kNear / kAtNear, kNear2 / kAtNear},
                                    {1 / kAtFar, kFar / kAtFar, kFar2 / kAtFar},
                                    {1 / kAtFar, -kFar / kAtFar, kFar2 / kAtFar},
                                    {0, 0, 1}};
        return m[o][i];
    }
};

template <class T>
struct Transposed {
    static constexpr int kIns = T::kOuts, kOuts = T::kIns;
    static constexpr double at(int o, int i) { return T::at(i, o); }
};

// sum + T[O][I] * x[I] + .., terms of coefficient 0 left out.
template <class T, int O, int I, bool First, class V>
inline V transformed(const V* x, V sum) {
    if constexpr (I == T::kIns) {
        return sum;
    } else {
        constexpr float factor = static_cast<float>(T::at(O, I));
        if constexpr (factor == 0.0f)
            return transformed<T, O, I + 1, First>(x, sum);
        else if constexpr (First)
            return transformed<T, O, I + 1, false>(x, factor == 1.0f ? x[I] : x[I] * factor);
        else if constexpr (factor == 1.0f)
            return transformed<T, O, I + 1, false>(x, sum + x[I]);
        else
            return transformed<T, O, I + 1, false>(x, fma(x[I], V{} + factor, sum));
    }
}

template <class T, int O, bool Add, class V>
inline void store_transformed(const Transform& t, int64_t out, const V* x) {
    if constexpr (O < T::kOuts) {
        const V sum = transformed<T, O, 0, true>(x, V{});
        store<V>(t.out[O] + out, Add ? load<V>(t.out[O] + out) + sum : sum);
        store_transformed<T, O + 1, Add>(t, out, x);
    }
}

template <class T, bool Add, class V>
inline void transform_vector(const Transform& t, int64_t in, int64_t out) {
    V x[T::kIns];
#pragma GCC unroll 6
    for (int i = 0; i < T::kIns; ++i) x[i] = load<V>(t.in[i] + in);
    store_transformed<T, 0, Add>(t, out, x);
}

template <class T, bool Add = false>
void transform_all(const Transform& t) {
    for (int64_t m = 0; m < t.count; ++m) {
        int64_t lane = 0;
        for (; lane + lanes<Wide>() <= t.lanes; lane += lanes<Wide>())
            transform_vector<T, Add, Wide>(t, m * t.in_step + lane, m * t.out_step + lane);
        for (; lane < t.lanes; lane += lanes<Narrow>())
            transform_vector<T, Add, Narrow>(t, m * t.in_step + lane, m * t.out_step + lane);
    }
}

inline void transform(const Transform& t) {
    switch (t.kind) {
        case Transform::kInput: return transform_all<InputTransform>(t);
        case Transform::kOutput:
            return t.add ? transform_all<OutputTransform, true>(t) : transform_all<OutputTransform>(t);
        case Transform::kGradient: return transform_all<Transposed<OutputTransform>>(t);
        case Transform::kWeight: return transform_all<WeightTransform>(t);
        case Transform::kWeightGradient: return transform_all<Transposed<WeightTransform>>(t);
    }
}

}  // namespace AUTOMETA_ISA
}  // namespace autometa
