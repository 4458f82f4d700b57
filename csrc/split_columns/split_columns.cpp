#include <cstring>
#include <vector>

#include "autometa.h"
#include "parallel.h"

namespace autometa {

void join_columns(const std::vector<Columns>& parts, float* out, int64_t rows, int64_t row, int threads) {
    parallel_for(rows, useful_threads(rows * row, threads), [&](int64_t r) {
        float* to = out + r * row;
        for (const Columns& part : parts) {
            const size_t bytes = static_cast<size_t>(part.width) * sizeof(float);
            if (part.data == nullptr)
                std::memset(to, 0, bytes);
            else
                std::memcpy(to, part.data + r * part.row, bytes);
            to += part.width;
        }
    });
}

}  // namespace autometa
