#include "ops/cuda/operators.h"
#include "ops/dropout/dropout.h"
#include "ops/dropout/dropout_cuda.h"

namespace tsugi::cuda {

void Operators::apply_dropout(const Context& context, const Dropout& dropout, const Tensor& x, const Tensor& out) {
  if (context.meta()) return;
  const int64_t rows = x.shape()[0];
  cuda::apply_dropout(stream(), x.dtype(), key_of(dropout), pointer<void>(x), pointer<void>(out), rows,
                      x.elements() / rows);
}

}  // namespace tsugi::cuda
