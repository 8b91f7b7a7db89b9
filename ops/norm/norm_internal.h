// What the CPU path of the norm room provides; shapes are checked.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi::cpu {

/// Rows of one piece of the backward pass.
inline constexpr int64_t kNormRows = 32;

void residual_layer_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                                 const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                                 const Tensor& normed, const Tensor& mean, const Tensor& rstd);

/// `partial` f32 [ceil(rows / kNormRows), 2, C].
void residual_layer_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                  const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                  const Tensor& d_branch, const Tensor& partial, const Tensor& d_gamma,
                                  const Tensor& d_beta);

void residual_rms_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                               const Tensor& gamma, float epsilon, const Tensor& residual, const Tensor& normed,
                               const Tensor& rstd);

/// `partial` f32 [ceil(rows / kNormRows), C].
void residual_rms_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& rstd,
                                const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                                const Tensor& d_residual, const Tensor& d_branch, const Tensor& partial,
                                const Tensor& d_gamma);

}  // namespace tsugi::cpu
