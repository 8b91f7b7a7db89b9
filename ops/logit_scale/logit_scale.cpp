#include "ops/logit_scale/logit_scale.h"

#include <algorithm>
#include <cmath>

#include "ops/tensor/device_objectives.h"

namespace tsugi {
namespace {

double root_of_scale(double first_scale, const Tensor& offset) {
  double value = 0.0;
  dispatch_compute_type(offset.dtype(),
                        [&]<class T>(T) { value = static_cast<double>(static_cast<float>(offset.data<T>()[0])); });
  return std::sqrt(logit_scale(first_scale, value));
}

void scale_values(const Tensor& from, double factor, float* to) {
  const float* const values = from.data<float>();
  for (int64_t i = 0; i < from.elements(); ++i) to[i] = static_cast<float>(factor * static_cast<double>(values[i]));
}

}  // namespace

double logit_scale(double first_scale, double offset) {
  return std::min(first_scale * std::exp(offset), kLogitScaleLimit);
}

void scale_pair(const Context& context, const Tensor& a, const Tensor& b, double first_scale, const Tensor& offset,
                const Tensor& out) {
  CHECK(a.shape() == b.shape() && a.dtype() == DType::kF32 && b.dtype() == DType::kF32);
  CHECK(out.elements() == 2 * a.elements() && out.dtype() == DType::kF32);
  CHECK_EQ(offset.elements(), 1);
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().scale_pair(context, a, b, first_scale, offset, out);
  }
  if (context.meta()) return;
  const double root = root_of_scale(first_scale, offset);
  scale_values(a, root, out.data<float>());
  scale_values(b, root, out.data<float>() + a.elements());
}

void scale_pair_backward(const Context& context, const Tensor& out, const Tensor& d_out, double first_scale,
                         const Tensor& offset, const Tensor& d_a, const Tensor& d_b, const Tensor& d_offset) {
  CHECK(out.shape() == d_out.shape() && d_a.shape() == d_b.shape());
  CHECK_EQ(out.elements(), 2 * d_a.elements());
  if (DeviceOperators* device = context.operators()) {
    return device->objectives().scale_pair_backward(context, out, d_out, first_scale, offset, d_a, d_b, d_offset);
  }
  if (context.meta()) return;
  const double root = root_of_scale(first_scale, offset);
  const int64_t half = d_a.elements();
  scale_values(d_out.slice(0, d_a.shape()), root, d_a.data<float>());
  scale_values(d_out.slice(half, d_b.shape()), root, d_b.data<float>());
  if (!d_offset.defined()) return;
  double along = 0.0;  // ∂(sqrt(s)·a) / ∂ ln s = sqrt(s)·a / 2
  for (int64_t row = 0; row < out.shape()[0]; ++row) {
    const float* const values = out.data<float>() + row * out.shape()[1];
    const float* const slopes = d_out.data<float>() + row * out.shape()[1];
    double sum = 0.0;
    for (int64_t c = 0; c < out.shape()[1]; ++c) sum += static_cast<double>(values[c]) * static_cast<double>(slopes[c]);
    along += sum;
  }
  d_offset.data<float>()[0] += static_cast<float>(0.5 * along);
}

}  // namespace tsugi
