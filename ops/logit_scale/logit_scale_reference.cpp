#include <cmath>

#include "ops/logit_scale/logit_scale.h"

namespace tsugi::reference {

void scale_pair(std::span<const double> a, std::span<const double> b, double first_scale, double offset,
                std::span<double> out) {
  const double root = std::sqrt(logit_scale(first_scale, offset));
  for (size_t i = 0; i < a.size(); ++i) {
    out[i] = root * a[i];
    out[a.size() + i] = root * b[i];
  }
}

double scale_pair_backward(std::span<const double> out, std::span<const double> d_out, double first_scale,
                           double offset, std::span<double> d_a, std::span<double> d_b) {
  const double root = std::sqrt(logit_scale(first_scale, offset));
  double along = 0.0;
  for (size_t i = 0; i < out.size(); ++i) along += 0.5 * out[i] * d_out[i];
  for (size_t i = 0; i < d_a.size(); ++i) {
    d_a[i] = root * d_out[i];
    d_b[i] = root * d_out[d_a.size() + i];
  }
  return along;
}

}  // namespace tsugi::reference
