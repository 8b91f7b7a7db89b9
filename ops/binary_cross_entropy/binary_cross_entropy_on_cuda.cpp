#include "ops/binary_cross_entropy/binary_cross_entropy.h"
#include "ops/binary_cross_entropy/binary_cross_entropy_cuda.h"
#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/operators.h"

namespace tsugi::cuda {

LossSum ObjectiveOperators::binary_cross_entropy(const Context& context, const Tensor& x, const Tensor& targets,
                                                 float weight, const Tensor& d_x) {
  const int64_t rows = x.elements();
  const Tensor losses = context.empty({rows}, DType::kF64);
  const Tensor sums = row_sums(context);
  if (context.meta()) return {};
  cuda::binary_cross_entropy(operators_->stream(), x.dtype(), pointer<void>(x), pointer<int32_t>(targets), rows, weight,
                             pointer<double>(losses), pointer<void>(d_x));
  add_row_losses(operators_->stream(), pointer<double>(losses), pointer<int32_t>(targets), nullptr, rows,
                 pointer<DeviceRowSums>(sums));
  return operators_->read_sum(sums);
}

}  // namespace tsugi::cuda
