#include "ops/cuda/operators.h"
#include "ops/top1/top1_cuda.h"

namespace tsugi::cuda {

void ObjectiveOperators::top1(const Context& context, const Tensor& scores, const Tensor& targets, int64_t classes,
                              const Tensor& right) {
  if (context.meta()) return;
  cuda::top1(operators_->stream(), pointer<float>(scores), pointer<int32_t>(targets), scores.shape()[0],
             scores.shape()[1], classes, pointer<int32_t>(right));
}

}  // namespace tsugi::cuda
