#include <cmath>

#include "ops/binary_cross_entropy/binary_cross_entropy.h"

namespace tsugi::reference {

LossSum binary_cross_entropy(std::span<const double> x, std::span<const int32_t> targets, double weight,
                             std::span<double> d_x) {
  LossSum loss;
  for (size_t row = 0; row < x.size(); ++row) {
    if (!d_x.empty()) d_x[row] = 0.0;
    if (targets[row] == kIgnoreIndex) continue;
    const double yes = 1.0 / (1.0 + std::exp(-x[row]));
    loss.sum -= std::log(targets[row] == 1 ? yes : 1.0 - yes);
    ++loss.count;
    if (!d_x.empty()) d_x[row] = weight * (yes - targets[row]);
  }
  return loss;
}

}  // namespace tsugi::reference
