#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/squared_error/squared_error.h"
#include "ops/squared_error/squared_error_cuda.h"

namespace tsugi::cuda {

LossSum ObjectiveOperators::squared_error(const Context& context, const Tensor& x, const Tensor& targets,
                                          const Tensor& indices, bool normalize, const Tensor& d_x) {
  const int64_t rows = x.shape().rows();
  const Tensor errors = context.empty({rows}, DType::kF64);
  const Tensor sums = row_sums(context);
  if (context.meta()) return {};
  const SquaredErrorShape shape{x.dtype(), rows, x.shape()[-1], targets.shape().rows(), normalize, kTargetVariance};
  cuda::squared_error(operators_->stream(), shape, pointer<void>(x), pointer<float>(targets), pointer<int32_t>(indices),
                      pointer<double>(errors), pointer<void>(d_x));
  add_row_losses(operators_->stream(), pointer<double>(errors), pointer<int32_t>(indices), nullptr, rows,
                 pointer<DeviceRowSums>(sums));
  return operators_->read_sum(sums);
}

}  // namespace tsugi::cuda
