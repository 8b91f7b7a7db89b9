#include "ops/cross_entropy/row_losses_cuda.h"
#include "ops/cuda/operators.h"
#include "ops/info_nce/info_nce.h"

namespace tsugi::cuda {

Tensor ObjectiveOperators::row_sums(const Context& context) const {
  const Tensor sums = context.empty({static_cast<int64_t>(sizeof(DeviceRowSums) / sizeof(double))}, DType::kF64);
  operators_->fill_zero(context, sums);
  return sums;
}

InfoNceSum ObjectiveOperators::read_row_sums(const Tensor& sums) const {
  DeviceRowSums result;
  operators_->copy_to_host(&result, sums.raw(), sizeof(result));
  return {{result.loss.sum, result.loss.count}, result.nearest};
}

}  // namespace tsugi::cuda
