#include "ops/moving_average/moving_average.h"

#include <algorithm>

#include "ops/tensor/device_objectives.h"

namespace tsugi {

void moving_average(const Context& context, double momentum, const Tensor& value, const Tensor& average) {
  CHECK(value.shape() == average.shape());
  CHECK(value.dtype() == DType::kF32 && average.dtype() == DType::kF32);
  CHECK(momentum >= 0.0 && momentum <= 1.0) << momentum;
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().moving_average(context, momentum, value, average);
  }
  if (context.meta()) return;
  constexpr int64_t kPiece = 1 << 16;
  const int64_t count = value.elements();
  context.pool().for_each((count + kPiece - 1) / kPiece, [&](int64_t piece, int) {
    const float* const from = value.data<float>();
    auto* const to = average.data<float>();
    const int64_t end = std::min(count, (piece + 1) * kPiece);
#pragma omp simd
    for (int64_t i = piece * kPiece; i < end; ++i) {
      to[i] =
          static_cast<float>(momentum * static_cast<double>(to[i]) + (1.0 - momentum) * static_cast<double>(from[i]));
    }
  });
}

namespace reference {

void moving_average(double momentum, std::span<const double> value, std::span<double> average) {
  for (size_t i = 0; i < value.size(); ++i) average[i] = momentum * average[i] + (1.0 - momentum) * value[i];
}

}  // namespace reference

}  // namespace tsugi
