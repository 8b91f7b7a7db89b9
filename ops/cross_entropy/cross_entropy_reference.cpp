#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi::reference {

LossSum linear_cross_entropy(int64_t rows, int64_t width, int64_t vocabulary, std::span<const double> hidden,
                             std::span<const double> weight, std::span<const int32_t> targets,
                             std::span<double> d_hidden, std::span<double> d_weight, const CrossEntropyOptions& options,
                             std::span<const double> bias, std::span<double> d_bias) {
  CHECK_EQ(d_hidden.empty(), d_weight.empty());
  std::fill(d_hidden.begin(), d_hidden.end(), 0.0);
  const auto cap = static_cast<double>(options.soft_cap);
  const auto z = static_cast<double>(options.z_loss);
  const auto epsilon = static_cast<double>(options.label_smoothing);
  LossSum result;
  std::vector<double> logits(static_cast<size_t>(vocabulary));
  for (int64_t r = 0; r < rows; ++r) {
    const int32_t target = targets[r];
    if (target == kIgnoreIndex) continue;
    double maximum = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < vocabulary; ++v) {
      double logit = bias.empty() ? 0.0 : bias[v];
      for (int64_t c = 0; c < width; ++c) logit += hidden[r * width + c] * weight[v * width + c];
      logits[v] = cap > 0.0 ? cap * std::tanh(logit / cap) : logit;
      maximum = std::max(maximum, logits[v]);
    }
    double sum = 0.0;
    for (int64_t v = 0; v < vocabulary; ++v) sum += std::exp(logits[v] - maximum);
    const double log_z = std::log(sum) + maximum;
    double uniform = 0.0;  // the cross-entropy with the uniform distribution
    for (int64_t v = 0; v < vocabulary; ++v) uniform += (log_z - logits[v]) / static_cast<double>(vocabulary);
    result.sum += log_z - logits[target];
    result.z_loss += z * log_z * log_z;
    result.smoothing += epsilon * (uniform - (log_z - logits[target]));
    ++result.count;
    if (d_hidden.empty()) continue;
    for (int64_t v = 0; v < vocabulary; ++v) {
      const double probability = std::exp(logits[v] - log_z);
      const double wanted = (v == target ? 1.0 - epsilon : 0.0) + epsilon / static_cast<double>(vocabulary);
      const double through_cap = cap > 0.0 ? 1.0 - (logits[v] / cap) * (logits[v] / cap) : 1.0;
      const double gradient = (probability - wanted + 2.0 * z * log_z * probability) * through_cap;
      if (!d_bias.empty()) d_bias[v] += gradient;
      for (int64_t c = 0; c < width; ++c) {
        d_hidden[r * width + c] += gradient * weight[v * width + c];
        d_weight[v * width + c] += gradient * hidden[r * width + c];
      }
    }
  }
  return result;
}

}  // namespace tsugi::reference
