#include "ops/top1/top1.h"

#include "ops/tensor/device_objectives.h"

namespace tsugi {

void top1(const Context& context, const Tensor& scores, const Tensor& targets, int64_t classes, const Tensor& right) {
  CHECK(scores.dtype() == DType::kF32 && classes >= 1 && classes <= scores.shape()[1]);
  CHECK(targets.elements() == scores.shape()[0] && targets.dtype() == DType::kI32);
  CHECK(right.elements() == scores.shape()[0] && right.dtype() == DType::kI32);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().top1(context, scores, targets, classes, right);
  }
  if (context.meta()) return;
  context.pool().for_each(scores.shape()[0], [&](int64_t row, int) {
    const float* const x = scores.data<float>() + row * scores.shape()[1];
    const int64_t target = targets.data<int32_t>()[row];
    bool best = target >= 0 && target < classes;
    for (int64_t c = 0; best && c < classes; ++c) best = c < target ? x[target] > x[c] : x[target] >= x[c];
    right.data<int32_t>()[row] = best;
  });
}

}  // namespace tsugi
