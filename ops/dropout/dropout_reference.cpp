#include "ops/dropout/dropout.h"

namespace tsugi::reference {

void apply_dropout(const Dropout& dropout, int64_t rows, int64_t width, std::span<const double> x,
                   std::span<double> out) {
  const auto p = static_cast<double>(dropout.p);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = 0; i < width; ++i) {
      const auto word = static_cast<double>(dropout.stream(row).word(static_cast<uint64_t>(i)));
      const auto at = static_cast<size_t>(row * width + i);
      out[at] = word < p * 0x1p32 ? 0.0 : x[at] / (1.0 - p);
    }
  }
}

}  // namespace tsugi::reference
