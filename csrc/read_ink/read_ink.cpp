#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "autometa.h"
#include "parallel.h"

namespace autometa {

namespace {

constexpr int kTerms = 6;  // of a polynomial of degree 2 in two variables
constexpr double kAlike = 1e-8, kLeastContrast = 0.15;
constexpr int64_t kFlat = 4;  // one pixel of so many in one grey: paper of that grey, in even light
constexpr int64_t kSample = 64;
constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: added and taken away, it leaves the nearest whole number

using Weights = std::array<double, kTerms>;
using Square = std::array<Weights, kTerms>;

// n places on -1 .. 1.
void places(int64_t n, std::vector<double>& found) {
    const double step = n > 1 ? 2.0 / static_cast<double>(n - 1) : 0.0;
    found.resize(static_cast<size_t>(n));
    for (int64_t i = 0; i < n; ++i) found[static_cast<size_t>(i)] = -1.0 + static_cast<double>(i) * step;
    if (n > 1) found.back() = 1.0;
}

double largest(const std::vector<double>& values) {
    double found = values[0];
    for (double value : values) found = value > found ? value : found;
    return found;
}

// Value number `rank` in order and the one behind it, of values that are not negative: counted by size first, so that
// few have to be sorted.
std::pair<double, double> ranked(const std::vector<double>& values, size_t rank, double most) {
    constexpr int kBuckets = 1024;
    std::array<uint32_t, kBuckets> counts{};
    const double scale = (kBuckets - 1) / most;
    for (double value : values) ++counts[static_cast<size_t>(static_cast<int>(value * scale))];
    size_t before = 0;
    int bucket = 0;
    while (before + counts[static_cast<size_t>(bucket)] <= rank) before += counts[static_cast<size_t>(bucket++)];
    std::vector<double> own;
    own.reserve(counts[static_cast<size_t>(bucket)]);
    for (double value : values)
        if (static_cast<int>(value * scale) == bucket) own.push_back(value);
    const auto at = own.begin() + static_cast<std::ptrdiff_t>(rank - before);
    std::nth_element(own.begin(), at, own.end());
    if (at + 1 != own.end()) return {*at, *std::min_element(at + 1, own.end())};
    double next = most;
    for (double value : values) next = value > *at && value < next ? value : next;
    return {*at, next};
}

// As numpy.quantile puts it, between the two values on either side; of values that are not negative.
double quantile(const std::vector<double>& values, double share) {
    const double place = share * static_cast<double>(values.size() - 1), most = largest(values);
    if (!(most > 0.0)) return 0.0;
    const auto low = static_cast<size_t>(std::floor(place));
    const auto [below, above] = ranked(values, low, most);
    return below + (above - below) * (place - static_cast<double>(low));
}

// Eigenvalues of a symmetric matrix in its diagonal, eigenvectors in the columns of `vectors` (Jacobi's rotations).
void diagonalise(Square& a, Square& vectors) {
    for (int i = 0; i < kTerms; ++i)
        for (int j = 0; j < kTerms; ++j) vectors[i][j] = i == j ? 1.0 : 0.0;
    for (int sweep = 0; sweep < 32; ++sweep) {
        double off = 0.0, all = 0.0;
        for (int i = 0; i < kTerms; ++i)
            for (int j = 0; j < kTerms; ++j) (i == j ? all : off) += a[i][j] * a[i][j];
        if (off <= 1e-30 * all) return;
        for (int p = 0; p < kTerms; ++p)
            for (int q = p + 1; q < kTerms; ++q) {
                if (a[p][q] == 0.0) continue;
                const double theta = (a[q][q] - a[p][p]) / (2.0 * a[p][q]);
                const double t = (theta < 0.0 ? -1.0 : 1.0) / (std::abs(theta) + std::sqrt(theta * theta + 1.0));
                const double c = 1.0 / std::sqrt(t * t + 1.0), s = t * c;
                for (int k = 0; k < kTerms; ++k) {
                    const double kp = a[k][p], kq = a[k][q];
                    a[k][p] = c * kp - s * kq;
                    a[k][q] = s * kp + c * kq;
                }
                for (int k = 0; k < kTerms; ++k) {
                    const double pk = a[p][k], qk = a[q][k], vp = vectors[k][p], vq = vectors[k][q];
                    a[p][k] = c * pk - s * qk;
                    a[q][k] = s * pk + c * qk;
                    vectors[k][p] = c * vp - s * vq;
                    vectors[k][q] = s * vp + c * vq;
                }
            }
    }
}

// The smallest weights that solve square * weights = right, but for directions that the square knows nothing of.
Weights solved(Square square, const Weights& right) {
    Square vectors;
    diagonalise(square, vectors);
    double largest = 0.0;
    for (int i = 0; i < kTerms; ++i) largest = std::max(largest, square[i][i]);
    Weights found{};
    for (int i = 0; i < kTerms; ++i) {
        if (!(square[i][i] > kAlike * largest)) continue;
        double along = 0.0;
        for (int k = 0; k < kTerms; ++k) along += vectors[k][i] * right[k];
        for (int k = 0; k < kTerms; ++k) found[k] += vectors[k][i] * along / square[i][i];
    }
    return found;
}

struct Picture {
    int64_t height, width;
    const std::vector<double>&values, &down, &right;  // right: places of the columns, down: of the rows
    double at(int64_t row, int64_t column) const { return values[static_cast<size_t>(row * width + column)]; }
};

// The polynomial of degree 2 nearest to the pixels of the paper; their mean where they are too few.
Weights surface(const Picture& x, const std::vector<unsigned char>& paper) {
    const int64_t rows = (x.height + kSample - 1) / kSample, columns = (x.width + kSample - 1) / kSample;
    Square square{};
    Weights moments{};
    int64_t chosen = 0;
    for (int64_t row = 0; row < x.height; row += rows)
        for (int64_t column = 0; column < x.width; column += columns) {
            if (!paper[static_cast<size_t>(row * x.width + column)]) continue;
            const double u = x.right[static_cast<size_t>(column)], v = x.down[static_cast<size_t>(row)];
            const Weights terms = {1.0, u, v, u * u, u * v, v * v};
            const double value = x.at(row, column);
            for (int i = 0; i < kTerms; ++i) {
                moments[i] += terms[i] * value;
                for (int j = 0; j <= i; ++j) square[i][j] += terms[i] * terms[j];
            }
            ++chosen;
        }
    if (chosen < 4 * kTerms) {
        double total = 0.0, count = 0.0;
        for (size_t i = 0; i < paper.size(); ++i)
            if (paper[i]) {
                total += x.values[i];
                count += 1.0;
            }
        return {count > 0.0 ? total / count : 0.0};
    }
    for (int i = 0; i < kTerms; ++i)
        for (int j = 0; j < i; ++j) square[j][i] = square[i][j];
    return solved(square, moments);
}

// What a picture needs, kept by the thread for the next one.
struct Work {
    std::vector<double> values, away, some, down, right;
    std::vector<unsigned char> paper;
};

uint8_t level_of(double away, double floor, double range) {
    const double share = (away - floor) / range, cut = share > 0.0 ? share : 0.0;
    return static_cast<uint8_t>(static_cast<int>((255.0 * (cut < 1.0 ? cut : 1.0) + kRound) - kRound));
}

// Where ink begins to count, and from there to full ink.
struct Stretch {
    double floor, range;
    Stretch(double rough, double reached, double most) {
        const double full = reached >= most / 2.0 ? reached : most;
        floor = std::min(rough, full / 3.0);
        range = std::max(full, kLeastContrast) - floor;
    }
};

// A grey's distance from the paper, and how many pixels have it.
using Greys = std::vector<std::pair<double, int64_t>>;

// `quantile` of greys that are counted; sorts them.
double counted_quantile(Greys& greys, int64_t pixels, double share) {
    std::sort(greys.begin(), greys.end());
    const double place = share * static_cast<double>(pixels - 1);
    const auto low = static_cast<int64_t>(std::floor(place));
    double below = 0.0, above = 0.0;
    int64_t before = 0;
    for (const auto& [value, count] : greys) {
        if (before <= low) below = value;
        if (before <= low + 1) above = value;
        before += count;
    }
    return below + (above - below) * (place - static_cast<double>(low));
}

using Counts = std::array<int64_t, 256>;

// On paper of one grey: what becomes of a pixel is a matter of its grey.
void read_flat(const uint8_t* grey, int64_t size, const Counts& counts, double paper, uint8_t* out) {
    std::array<double, 256> away{};
    double most = 0.0, greatest = -1.0, least = 1.0;
    for (size_t g = 0; g < 256; ++g) {
        away[g] = static_cast<double>(g) / 255.0 - paper;
        if (counts[g] == 0) continue;
        most = std::max(most, std::abs(away[g]));
        greatest = std::max(greatest, away[g]);
        least = std::min(least, away[g]);
    }
    Greys near, ink;
    int64_t on_paper = 0;
    const double side = greatest > -least ? 1.0 : -1.0;
    for (size_t g = 0; g < 256; ++g) {
        if (counts[g] == 0) continue;
        if (std::abs(away[g]) <= most / 2.0) {
            near.emplace_back(std::abs(away[g]), counts[g]);
            on_paper += counts[g];
        }
        away[g] = std::max(side * away[g], 0.0);
        ink.emplace_back(away[g], counts[g]);
    }
    const double rough = on_paper == 0 ? 0.0 : 3.0 * 1.4826 * counted_quantile(near, on_paper, 0.5);
    const double reached = counted_quantile(ink, size, 0.995);
    const Stretch stretch(rough, reached, ink.back().first);
    std::array<uint8_t, 256> levels{};
    for (size_t g = 0; g < 256; ++g) levels[g] = level_of(away[g], stretch.floor, stretch.range);
    for (int64_t i = 0; i < size; ++i) out[i] = levels[grey[i]];
}

// The grey of a quarter of the pixels or more, of two the one that is more of the border; -1 where there is none.
int paper_of(const uint8_t* grey, int64_t height, int64_t width, const Counts& counts) {
    Counts border{};
    for (int64_t row : {int64_t{0}, height - 1})
        for (int64_t column = 0; column < width; ++column) ++border[grey[row * width + column]];
    for (int64_t column : {int64_t{0}, width - 1})
        for (int64_t row = 0; row < height; ++row) ++border[grey[row * width + column]];
    int found = -1;
    for (int g = 0; g < 256; ++g) {
        const auto at = static_cast<size_t>(g);
        if (counts[at] * kFlat >= height * width && (found < 0 || border[at] > border[static_cast<size_t>(found)])) found = g;
    }
    return found;
}

void read_one(const uint8_t* grey, int64_t height, int64_t width, uint8_t* out, Work& work) {
    const auto size = static_cast<size_t>(height * width);
    Counts counts{};
    for (size_t i = 0; i < size; ++i) ++counts[grey[i]];
    const int paper_grey = paper_of(grey, height, width, counts);
    if (paper_grey >= 0) return read_flat(grey, height * width, counts, static_cast<double>(paper_grey) / 255.0, out);
    auto& [values, away, some, down, right, paper] = work;
    values.resize(size);
    away.resize(size);
    paper.resize(size);
    for (size_t i = 0; i < size; ++i) values[i] = static_cast<double>(grey[i]) / 255.0;
    places(height, down);
    places(width, right);
    const Picture x{height, width, values, down, right};
    some.clear();
    for (int64_t row : {int64_t{0}, height - 1})
        for (int64_t column = 0; column < width; ++column) some.push_back(x.at(row, column));
    for (int64_t column : {int64_t{0}, width - 1})
        for (int64_t row = 0; row < height; ++row) some.push_back(x.at(row, column));
    const double border = quantile(some, 0.5);
    for (size_t i = 0; i < size; ++i) away[i] = values[i] - border;
    for (int turn = 0; turn < 2; ++turn) {
        double most = 0.0;
        for (double value : away) most = std::abs(value) > most ? std::abs(value) : most;
        for (size_t i = 0; i < size; ++i) paper[i] = std::abs(away[i]) <= most / 2.0;
        const Weights w = surface(x, paper);
        for (int64_t row = 0; row < height; ++row) {
            const double v = down[static_cast<size_t>(row)];
            const double level = w[0] + w[2] * v + w[5] * v * v, slope = w[1] + w[4] * v, bend = w[3];
            const double *from = values.data() + row * width, *u = right.data();
            double* to = away.data() + row * width;
            for (int64_t i = 0; i < width; ++i) to[i] = from[i] - (level + u[i] * (slope + bend * u[i]));
        }
    }
    some.resize(size);
    size_t count = 0;
    for (size_t i = 0; i < size; ++i) {
        some[count] = std::abs(away[i]);
        count += paper[i];
    }
    some.resize(count);
    const double rough = some.empty() ? 0.0 : 3.0 * 1.4826 * quantile(some, 0.5);
    const double greatest = largest(away);
    for (double& value : away) value = -value;
    const double side = greatest > largest(away) ? -1.0 : 1.0;
    for (double& value : away) value = side * value > 0.0 ? side * value : 0.0;
    const Stretch stretch(rough, quantile(away, 0.995), largest(away));
    for (size_t i = 0; i < size; ++i) out[i] = level_of(away[i], stretch.floor, stretch.range);
}

}  // namespace

void read_ink(const uint8_t* images, int64_t count, int64_t height, int64_t width, uint8_t* out, int threads) {
    const int64_t size = height * width;
    if (size == 0) return;
    parallel_for(count, useful_threads(32 * count * size, threads), [&](int64_t i) {
        static thread_local Work work;
        read_one(images + i * size, height, width, out + i * size, work);
    });
}

}  // namespace autometa
