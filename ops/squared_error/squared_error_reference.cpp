#include <cmath>
#include <vector>

#include "ops/squared_error/squared_error.h"

namespace tsugi::reference {

LossSum squared_error(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> targets,
                      std::span<const int32_t> indices, bool normalize, std::span<double> d_x) {
  LossSum loss;
  const auto columns = static_cast<double>(width);
  for (int64_t r = 0; r < rows; ++r) {
    if (indices[r] == kIgnoreIndex) {
      for (int64_t c = 0; c < width && !d_x.empty(); ++c) d_x[r * width + c] = 0.0;
      continue;
    }
    const auto row = targets.subspan(static_cast<size_t>(indices[r] * width), static_cast<size_t>(width));
    std::vector<double> wanted(row.begin(), row.end());
    if (normalize) {
      double mean = 0.0;
      double variance = 0.0;
      for (const double value : row) mean += value / columns;
      for (const double value : row) variance += (value - mean) * (value - mean) / (columns - 1.0);
      for (double& value : wanted) value = (value - mean) / std::sqrt(variance + kTargetVariance);
    }
    for (int64_t c = 0; c < width; ++c) {
      const double difference = x[r * width + c] - wanted[static_cast<size_t>(c)];
      loss.sum += difference * difference / columns;
      if (!d_x.empty()) d_x[r * width + c] = 2.0 * difference / columns;
    }
    ++loss.count;
  }
  return loss;
}

}  // namespace tsugi::reference
