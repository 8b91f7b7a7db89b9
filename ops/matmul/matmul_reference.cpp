#include "ops/matmul/matmul.h"

namespace tsugi::reference {

void matmul(int64_t m, int64_t n, int64_t k, std::span<const double> a, bool transpose_a, std::span<const double> b,
            bool transpose_b, std::span<double> out, bool accumulate) {
  const auto at = [](std::span<const double> x, int64_t row, int64_t column, bool transposed, int64_t rows,
                     int64_t columns) {
    return x[static_cast<size_t>(transposed ? column * rows + row : row * columns + column)];
  };
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0.0;
      for (int64_t l = 0; l < k; ++l) sum += at(a, i, l, transpose_a, m, k) * at(b, l, j, transpose_b, k, n);
      double& result = out[static_cast<size_t>(i * n + j)];
      result = accumulate ? result + sum : sum;
    }
  }
}

}  // namespace tsugi::reference
