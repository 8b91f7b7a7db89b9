#include "ops/columns/columns.h"

namespace tsugi::reference {

void take_columns(int64_t rows, int64_t columns, int64_t first, int64_t width, double scale, std::span<const double> x,
                  std::span<double> out) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      out[static_cast<size_t>(r * width + c)] = scale * x[static_cast<size_t>(r * columns + first + c)];
    }
  }
}

void add_to_columns(int64_t rows, int64_t columns, int64_t first, int64_t width, double scale,
                    std::span<const double> addend, std::span<double> x) {
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < width; ++c) {
      x[static_cast<size_t>(r * columns + first + c)] += scale * addend[static_cast<size_t>(r * width + c)];
    }
  }
}

}  // namespace tsugi::reference
