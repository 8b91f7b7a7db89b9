#include "ops/gather_rows/gather_rows.h"

namespace tsugi::reference {

void gather_rows(int64_t width, std::span<const int32_t> indices, std::span<const double> x, std::span<double> out) {
  for (size_t n = 0; n < indices.size(); ++n) {
    for (int64_t c = 0; c < width; ++c) {
      out[n * static_cast<size_t>(width) + static_cast<size_t>(c)] = x[static_cast<size_t>(indices[n] * width + c)];
    }
  }
}

void gather_rows_backward(int64_t width, std::span<const int32_t> indices, std::span<const double> d_out,
                          std::span<double> d_x) {
  for (double& value : d_x) value = 0.0;
  for (size_t n = 0; n < indices.size(); ++n) {
    for (int64_t c = 0; c < width; ++c) {
      d_x[static_cast<size_t>(indices[n] * width + c)] +=
          d_out[n * static_cast<size_t>(width) + static_cast<size_t>(c)];
    }
  }
}

}  // namespace tsugi::reference
