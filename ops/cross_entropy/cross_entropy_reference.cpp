#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi::reference {

LossSum linear_cross_entropy(int64_t rows, int64_t width, int64_t vocabulary, std::span<const double> hidden,
                             std::span<const double> weight, std::span<const int32_t> targets,
                             std::span<double> d_hidden, std::span<double> d_weight) {
  CHECK_EQ(d_hidden.empty(), d_weight.empty());
  std::fill(d_hidden.begin(), d_hidden.end(), 0.0);
  LossSum result;
  std::vector<double> logits(static_cast<size_t>(vocabulary));
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t target = targets[r];
    if (target == kIgnoreIndex) continue;
    double maximum = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < vocabulary; ++v) {
      double logit = 0.0;
      for (int64_t c = 0; c < width; ++c) logit += hidden[r * width + c] * weight[v * width + c];
      logits[v] = logit;
      maximum = std::max(maximum, logit);
    }
    double sum = 0.0;
    for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[v] - maximum);
    result.sum += std::log(sum) + maximum - logits[target];
    ++result.count;
    if (d_hidden.empty()) continue;
    for (int64_t v = 0; v < vocabulary; ++v) {
      const double gradient = std::exp(logits[v] - maximum) / sum - (v == target ? 1.0 : 0.0);
      for (int64_t c = 0; c < width; ++c) {
        d_hidden[r * width + c] += gradient * weight[v * width + c];
        d_weight[v * width + c] += gradient * hidden[r * width + c];
      }
    }
  }
  return result;
}

}  // namespace tsugi::reference
