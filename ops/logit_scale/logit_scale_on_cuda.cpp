#include "ops/cuda/operators.h"
#include "ops/logit_scale/logit_scale.h"
#include "ops/logit_scale/logit_scale_cuda.h"

namespace tsugi::cuda {
namespace {

DeviceLogitScale scale_of(double first_scale, const Tensor& offset) {
  return {first_scale, kLogitScaleLimit, offset.dtype(), pointer<void>(offset)};
}

}  // namespace

void ObjectiveOperators::scale_pair(const Context& context, const Tensor& a, const Tensor& b, double first_scale,
                                    const Tensor& offset, const Tensor& out) {
  if (context.meta()) return;
  cuda::scale_pair(operators_->stream(), scale_of(first_scale, offset), pointer<float>(a), pointer<float>(b),
                   a.elements(), pointer<float>(out));
}

void ObjectiveOperators::scale_pair_backward(const Context& context, const Tensor& out, const Tensor& d_out,
                                             double first_scale, const Tensor& offset, const Tensor& d_a,
                                             const Tensor& d_b, const Tensor& d_offset) {
  const Tensor products = d_offset.defined() ? context.empty({out.shape()[0]}, DType::kF64) : Tensor();
  if (context.meta()) return;
  cuda::scale_pair_backward(operators_->stream(), scale_of(first_scale, offset), pointer<float>(out),
                            pointer<float>(d_out), out.shape()[0] / 2, out.shape()[1], pointer<float>(d_a),
                            pointer<float>(d_b), pointer<double>(products), pointer<float>(d_offset));
}

}  // namespace tsugi::cuda
