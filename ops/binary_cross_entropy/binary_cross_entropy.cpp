#include "ops/binary_cross_entropy/binary_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "ops/tensor/device_objectives.h"

namespace tsugi {

LossSum binary_cross_entropy(const Context& context, const Tensor& x, const Tensor& targets, float weight,
                             const Tensor& d_x) {
  const int64_t rows = x.elements();
  CHECK(targets.elements() == rows && targets.dtype() == DType::kI32);
  if (d_x.defined()) CHECK(d_x.shape() == x.shape() && d_x.dtype() == x.dtype());
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().binary_cross_entropy(context, x, targets, weight, d_x);
  }
  LossSum loss;
  if (context.meta()) return loss;
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    for (int64_t row = 0; row < rows; ++row) {
      const int32_t target = targets.data<int32_t>()[row];
      CHECK(target == kIgnoreIndex || target == 0 || target == 1) << "target " << target;
      double slope = 0.0;
      if (target != kIgnoreIndex) {
        const auto score = static_cast<double>(static_cast<float>(x.data<T>()[row]));
        const double e = std::exp(-std::abs(score));
        loss.sum += std::max(score, 0.0) + std::log1p(e) - target * score;
        ++loss.count;
        slope = static_cast<double>(weight) * ((score > 0.0 ? 1.0 : e) / (1.0 + e) - target);
      }
      if (d_x.defined()) d_x.data<T>()[row] = T(static_cast<float>(slope));
    }
  });
  return loss;
}

}  // namespace tsugi
