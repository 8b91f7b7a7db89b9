// LayerNorm and RMSNorm, fused with the residual addition and the dropout of the branch before them.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// residual = x + dropout(branch);  normed = (residual - mean)·rstd·gamma + beta, over the last axis.
/// x, branch, residual, normed: [B, T, C] of one type (f32 or bf16); gamma, beta: [C] of that type; mean, rstd: f32
/// [B·T]. `branch` may be undefined: then residual is x itself, is not written and may be undefined.
/// Dropout: row = index in B, element = t·C + c. Ba, Kiros, Hinton, "Layer normalization" (2016), eq. 4.
void residual_layer_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                                 const Tensor& gamma, const Tensor& beta, float epsilon, const Tensor& residual,
                                 const Tensor& normed, const Tensor& mean, const Tensor& rstd);

/// Gradients of the above. `d_residual` [B, T, C] holds on entry the gradient that reaches `residual` from later uses
/// (if `has_d_residual`; else its content is ignored) and on exit the full gradient of x. If dropout is active,
/// `d_branch` (same shape, another buffer) receives the gradient of branch; else it must be undefined and the gradient
/// of branch is d_residual. d_gamma and d_beta (f32 [C]) are added to; rows are summed in fixed chunks in order.
void residual_layer_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma,
                                  const Tensor& mean, const Tensor& rstd, const Tensor& d_normed,
                                  const Dropout& dropout, bool has_d_residual, const Tensor& d_residual,
                                  const Tensor& d_branch, const Tensor& d_gamma, const Tensor& d_beta);

/// residual = x + dropout(branch);  normed = residual·rstd·gamma with rstd = 1/sqrt(mean(residual²) + epsilon), over
/// the last axis. Shapes, types, `branch` and dropout as above. Zhang and Sennrich, "Root mean square layer
/// normalization" (2019), eq. 4; everything but what is stored in f32.
void residual_rms_norm_forward(const Context& context, const Tensor& x, const Tensor& branch, const Dropout& dropout,
                               const Tensor& gamma, float epsilon, const Tensor& residual, const Tensor& normed,
                               const Tensor& rstd);

/// Gradients of residual_rms_norm_forward(); arguments as of residual_layer_norm_backward().
void residual_rms_norm_backward(const Context& context, const Tensor& residual, const Tensor& gamma, const Tensor& rstd,
                                const Tensor& d_normed, const Dropout& dropout, bool has_d_residual,
                                const Tensor& d_residual, const Tensor& d_branch, const Tensor& d_gamma);

namespace reference {
/// rows × width in double.
void layer_norm_forward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                        std::span<const double> beta, double epsilon, std::span<double> normed);
/// Writes d_x; adds to d_gamma and d_beta.
void layer_norm_backward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                         double epsilon, std::span<const double> d_normed, std::span<double> d_x,
                         std::span<double> d_gamma, std::span<double> d_beta);

void rms_norm_forward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                      double epsilon, std::span<double> normed);
/// Writes d_x; adds to d_gamma.
void rms_norm_backward(int64_t rows, int64_t width, std::span<const double> x, std::span<const double> gamma,
                       double epsilon, std::span<const double> d_normed, std::span<double> d_x,
                       std::span<double> d_gamma);
}  // namespace reference

}  // namespace tsugi
