#include "ops/reduce/reduce.h"

namespace tsugi::reference {

void column_sum(int64_t rows, int64_t columns, std::span<const double> x, std::span<double> out) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) out[static_cast<size_t>(j)] += x[static_cast<size_t>(i * columns + j)];
  }
}

}  // namespace tsugi::reference
