#include "ops/norm/norm.h"

#include <initializer_list>

#include "ops/norm/norm_internal.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

void check_like(const Tensor& tensor, const Tensor& model) {
  CHECK(tensor.shape() == model.shape()) << tensor.shape().to_string() << " with " << model.shape().to_string();
  CHECK(tensor.dtype() == model.dtype()) << name_of(tensor.dtype()) << " with " << name_of(model.dtype());
}

/// x [B, T, C], parameters [C] of its type, statistics f32 [B·T].
void check_shapes(const Tensor& x, const Tensor& gamma, std::initializer_list<Tensor> statistics) {
  CHECK_EQ(x.shape().rank(), 3);
  CHECK(x.dtype() == DType::kF32 || x.dtype() == DType::kBF16) << name_of(x.dtype());
  CHECK_GE(x.shape()[2], 1);
  CHECK(gamma.dtype() == x.dtype());
  CHECK_EQ(gamma.elements(), x.shape()[2]);
  for (const Tensor& statistic : statistics) {
    CHECK(statistic.dtype() == DType::kF32);
    CHECK_EQ(statistic.elements(), x.shape().rows());
  }
}

void check_outputs(const Tensor& x, const Tensor& branch, const Tensor& residual, const Tensor& normed) {
  check_like(normed, x);
  if (branch.defined()) {
    check_like(branch, x);
    check_like(residual, x);
  }
}

void check_gradients(const Tensor& residual, const Tensor& d_normed, const Dropout& dropout, const Tensor& d_residual,
                     const Tensor& d_branch, std::initializer_list<Tensor> d_parameters) {
  check_like(d_normed, residual);
  check_like(d_residual, residual);
  CHECK_EQ(d_branch.defined(), dropout.active());
  if (d_branch.defined()) check_like(d_branch, residual);
  for (const Tensor& gradient : d_parameters) {
    CHECK(gradient.dtype() == DType::kF32);
    CHECK_EQ(gradient.elements(), residual.shape()[2]);
  }
}

}  // namespace

void residual_layer_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                                 const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                                 const Tensor& normed, const Tensor& mean, const Tensor& rstd) {
  check_shapes(x, gamma, {mean, rstd});
  CHECK(beta.dtype() == x.dtype());
  CHECK_EQ(beta.elements(), x.shape()[2]);
  check_outputs(x, branch, residual, normed);
  const ProfiledOperator work(context, "layer norm", 0, {&x, &branch, &residual, &normed});
  if (DeviceOperators* device = context.operators()) {
    return device->residual_norm_forward(context, x, branch, dropout, gamma, beta, epsilon, residual, normed, mean,
                                         rstd);
  }
  if (context.meta()) return;
  cpu::residual_layer_norm_forward(context, x, branch, dropout, gamma, beta, epsilon, residual, normed, mean, rstd);
}

void residual_layer_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                  const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                  const Tensor& d_branch, const Tensor& d_gamma, const Tensor& d_beta) {
  check_shapes(residual, gamma, {mean, rstd});
  check_gradients(residual, d_normed, dropout, d_residual, d_branch, {d_gamma, d_beta});
  const ProfiledOperator work(context, "layer norm backward", 0, {&residual, &d_normed, &d_residual, &d_branch});
  if (DeviceOperators* device = context.operators()) {
    return device->residual_norm_backward(context, residual, gamma, mean, rstd, d_normed, dropout, has_d_residual,
                                          d_residual, d_branch, d_gamma, d_beta);
  }
  const int64_t width = residual.shape()[2];
  const int64_t chunks = (residual.shape().rows() + cpu::kNormRows - 1) / cpu::kNormRows;
  const Tensor partial = context.empty({chunks, 2, width}, DType::kF32);
  if (context.meta()) return;
  cpu::residual_layer_norm_backward(context, residual, gamma, mean, rstd, d_normed, dropout, has_d_residual, d_residual,
                                    d_branch, partial, d_gamma, d_beta);
}

void residual_rms_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                               const Tensor& gamma, float epsilon, const Tensor& residual, const Tensor& normed,
                               const Tensor& rstd) {
  check_shapes(x, gamma, {rstd});
  check_outputs(x, branch, residual, normed);
  const ProfiledOperator work(context, "RMS norm", 0, {&x, &branch, &residual, &normed});
  if (DeviceOperators* device = context.operators()) {
    return device->residual_norm_forward(context, x, branch, dropout, gamma, Tensor(), epsilon, residual, normed,
                                         Tensor(), rstd);
  }
  if (context.meta()) return;
  cpu::residual_rms_norm_forward(context, x, branch, dropout, gamma, epsilon, residual, normed, rstd);
}

void residual_rms_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& rstd,
                                const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                                const Tensor& d_residual, const Tensor& d_branch, const Tensor& d_gamma) {
  check_shapes(residual, gamma, {rstd});
  check_gradients(residual, d_normed, dropout, d_residual, d_branch, {d_gamma});
  const ProfiledOperator work(context, "RMS norm backward", 0, {&residual, &d_normed, &d_residual, &d_branch});
  if (DeviceOperators* device = context.operators()) {
    return device->residual_norm_backward(context, residual, gamma, Tensor(), rstd, d_normed, dropout, has_d_residual,
                                          d_residual, d_branch, d_gamma, Tensor());
  }
  const int64_t chunks = (residual.shape().rows() + cpu::kNormRows - 1) / cpu::kNormRows;
  const Tensor partial = context.empty({chunks, residual.shape()[2]}, DType::kF32);
  if (context.meta()) return;
  cpu::residual_rms_norm_backward(context, residual, gamma, rstd, d_normed, dropout, has_d_residual, d_residual,
                                  d_branch, partial, d_gamma);
}

}  // namespace tsugi
