#include "ops/cuda/operators.h"
#include "ops/moving_average/moving_average_cuda.h"

namespace tsugi::cuda {

void ObjectiveOperators::moving_average(const Context& context, double momentum, const Tensor& value,
                                        const Tensor& average) {
  if (context.meta()) return;
  cuda::moving_average(operators_->stream(), momentum, pointer<float>(value), pointer<float>(average),
                       value.elements());
}

}  // namespace tsugi::cuda
