#include "ops/cuda/operators.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "ops/normalize_rows/normalize_rows_cuda.h"

namespace tsugi::cuda {

void ObjectiveOperators::normalize_rows(const Context& context, const Tensor& x, const Tensor& out,
                                        const Tensor& scales) {
  if (context.meta()) return;
  cuda::normalize_rows(operators_->stream(), x.dtype(), pointer<void>(x), x.shape().rows(), x.shape()[-1], kShortestRow,
                       pointer<float>(out), pointer<double>(scales));
}

void ObjectiveOperators::normalize_rows_backward(const Context& context, const Tensor& out, const Tensor& scales,
                                                 const Tensor& d_out, const Tensor& d_x) {
  if (context.meta()) return;
  cuda::normalize_rows_backward(operators_->stream(), d_x.dtype(), pointer<float>(out), pointer<double>(scales),
                                pointer<float>(d_out), out.shape().rows(), out.shape()[-1], kShortestRow,
                                pointer<void>(d_x));
}

}  // namespace tsugi::cuda
