#include "core/scaling/machine_rate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/copy.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

/// Zeros for a CPU, whose speed does not depend on the data; other devices draw less power for zeros, and run faster.
void fill(const Context& context, const Tensor& matrix, uint64_t seed) {
  if (context.operators() == nullptr) return fill_zero(context, matrix);
  std::vector<float> values(static_cast<size_t>(matrix.elements()));
  const RandomStream stream{seed, 0, 0};
  for (size_t i = 0; i < values.size(); i += 4) {
    const Philox4 words = stream.block(static_cast<uint32_t>(i / 4));
    for (size_t j = i; j < std::min(i + 4, values.size()); ++j) values[j] = uniform_open(words[j - i]) - 0.5f;
  }
  const Tensor exact = context.empty(matrix.shape(), DType::kF32);
  copy_from_host(context, values.data(), exact);
  convert(context, exact, matrix);
}

}  // namespace

double measure_matmul_rate(const Context& context, DType type) {
  // Large enough for every thread, and short: runs of a second begin with it. The first run warms up; the best of few
  // was 20 % low.
  constexpr int kFewThreads = 4;
  constexpr int kRuns = 16;
  const int64_t size = context.operators() != nullptr            ? context.operators()->busy_extent()
                       : context.pool().threads() <= kFewThreads ? 512
                                                                 : 1024;
  const Tensor a = context.empty({size, size}, type);
  const Tensor b = context.empty({size, size}, type);
  const Tensor out = context.empty({size, size}, type);
  fill(context, a, 1);
  fill(context, b, 2);
  synchronize(context);
  const double flops = 2.0 * static_cast<double>(size) * static_cast<double>(size) * static_cast<double>(size);
  double best = 1e30;
  if (context.operators() != nullptr) {
    // By the device's own clock, of products that wait for no launch: those of a step do not, either.
    constexpr int kProducts = 8;
    for (int run = 0; run < kRuns; ++run) {
      const std::unique_ptr<Stopwatch> watch = context.operators()->start_stopwatch();
      for (int product = 0; product < kProducts; ++product) matmul(context, a, b, out);
      watch->stop();
      synchronize(context);
      if (run > 0) best = std::min(best, watch->seconds() / kProducts);
    }
    return flops / best;
  }
  for (int run = 0; run < kRuns; ++run) {
    const auto start = std::chrono::steady_clock::now();
    matmul(context, a, b, out);
    synchronize(context);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    if (run > 0) best = std::min(best, seconds.count());
  }
  return flops / best;
}

}  // namespace tsugi
