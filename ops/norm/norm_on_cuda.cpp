#include "ops/cuda/operators.h"
#include "ops/norm/norm_cuda.h"

namespace tsugi::cuda {
namespace {

NormShape shape_of(const Tensor& x) {
  const NormShape shape{.type = x.dtype(), .batch = x.shape()[0], .tokens = x.shape()[1], .width = x.shape()[2]};
  check_norm(shape);
  return shape;
}

}  // namespace

void Operators::residual_norm_forward(const Context& context, const Tensor& x, const Tensor& branch,
                                      const Dropout& dropout, const Tensor& gamma, const Tensor& beta, float epsilon,
                                      const Tensor& residual, const Tensor& normed, const Tensor& mean,
                                      const Tensor& rstd) {
  const NormShape shape = shape_of(x);
  if (context.meta()) return;
  cuda::residual_norm_forward(stream(), shape, pointer<void>(x), pointer<void>(branch), key_of(dropout),
                              pointer<void>(gamma), pointer<void>(beta), epsilon, pointer<void>(residual),
                              pointer<void>(normed), pointer<float>(mean), pointer<float>(rstd));
}

void Operators::residual_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                       const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                       const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                       const Tensor& d_branch, const Tensor& d_gamma, const Tensor& d_beta) {
  const NormShape shape = shape_of(residual);
  const Tensor scratch = context.empty({static_cast<int64_t>(norm_scratch_bytes(shape)) / 4}, DType::kF32);
  if (context.meta()) return;
  cuda::residual_norm_backward(stream(), shape, pointer<void>(residual), pointer<void>(gamma), pointer<float>(mean),
                               pointer<float>(rstd), pointer<void>(d_normed), key_of(dropout), has_d_residual,
                               pointer<void>(d_residual), pointer<void>(d_branch), pointer<float>(scratch),
                               pointer<float>(d_gamma), pointer<float>(d_beta));
}

}  // namespace tsugi::cuda
