#include <algorithm>
#include <cmath>

#include "ops/normalize_rows/normalize_rows.h"

namespace tsugi::reference {

void normalize_rows(int64_t rows, int64_t width, std::span<const double> x, std::span<double> out,
                    std::span<const double> d_out, std::span<double> d_x) {
  for (int64_t r = 0; r < rows; ++r) {
    const double* const from = x.data() + r * width;
    double squares = 0.0;
    double along = 0.0;
    for (int64_t c = 0; c < width; ++c) squares += from[c] * from[c];
    const double norm = std::max(std::sqrt(squares), kShortestRow);
    for (int64_t c = 0; c < width; ++c) out[r * width + c] = from[c] / norm;
    if (d_x.empty()) continue;
    if (norm > kShortestRow) {
      for (int64_t c = 0; c < width; ++c) along += from[c] * d_out[r * width + c] / (norm * norm);
    }
    for (int64_t c = 0; c < width; ++c) d_x[r * width + c] = (d_out[r * width + c] - from[c] * along) / norm;
  }
}

}  // namespace tsugi::reference
