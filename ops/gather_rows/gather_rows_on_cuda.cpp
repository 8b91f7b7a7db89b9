#include "ops/cuda/operators.h"
#include "ops/gather_rows/gather_rows_cuda.h"

namespace tsugi::cuda {

void Operators::gather_rows(const Context& context, const Tensor& x, const Tensor& indices, const Tensor& out) {
  if (context.meta()) return;
  cuda::gather_rows(stream(), x.dtype(), pointer<void>(x), pointer<int32_t>(indices), indices.elements(), x.shape()[-1],
                    pointer<void>(out));
}

void Operators::gather_rows_backward(const Context& context, const Tensor& indices, const Tensor& d_out,
                                     const Tensor& d_x) {
  fill_zero(context, d_x);
  if (context.meta()) return;
  cuda::gather_rows_backward(stream(), d_x.dtype(), pointer<int32_t>(indices), pointer<void>(d_out), indices.elements(),
                             d_x.shape()[-1], pointer<void>(d_x));
}

}  // namespace tsugi::cuda
