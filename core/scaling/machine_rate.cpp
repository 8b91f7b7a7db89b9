#include "core/scaling/machine_rate.h"

#include <algorithm>
#include <chrono>

#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"

namespace tsugi {

double measure_matmul_rate(const Context& context, DType type) {
  constexpr int64_t kSize = 1024;
  constexpr int kRuns = 12;  // the first one warms up; the best of few was 20 % low
  const Tensor a = context.empty({kSize, kSize}, type);
  const Tensor b = context.empty({kSize, kSize}, type);
  const Tensor out = context.empty({kSize, kSize}, type);
  fill_zero(context, a);
  fill_zero(context, b);
  double best = 1e30;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    matmul(context, a, b, out);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (run > 0) best = std::min(best, seconds.count());
  }
  return 2.0 * kSize * kSize * kSize / best;
}

}  // namespace tsugi
