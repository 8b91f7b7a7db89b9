// Residual addition + dropout + LayerNorm or RMSNorm, on CUDA; norm.h has the formulas. Pointers are to device memory,
// 16-byte aligned; the arrays of a call are of one type but for the statistics and the parameters' gradients.
#pragma once

#include <cstdint>

#include "ops/cuda/dropout_key.h"
#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// rows = batch·tokens, each of `width` elements.
struct NormShape {
  DType type = DType::kBF16;
  int64_t batch = 0;
  int64_t tokens = 0;
  int64_t width = 0;

  int64_t rows() const { return batch * tokens; }
};

/// Throws Error(kUsage) for widths that the kernels cannot hold in registers.
void check_norm(const NormShape& shape);

/// residual = x + dropout(branch), normed = LayerNorm(residual), or with beta and mean null RMSNorm(residual). `branch`
/// may be null: then residual is not written.
void residual_norm_forward(Stream& stream, const NormShape& shape, const void* x, const void* branch,
                           const DropoutKey& dropout, const void* gamma, const void* beta, float epsilon,
                           void* residual, void* normed, float* mean, float* rstd);

/// Bytes of scratch that the backward pass needs.
size_t norm_scratch_bytes(const NormShape& shape);

/// The gradients of LayerNorm, or with mean and d_beta null of RMSNorm. d_residual as norm.h says; `d_branch` is null
/// if dropout is off. d_gamma and d_beta (f32) are added to: every group of threads sums its rows in registers, the
/// groups are added in a fixed order.
void residual_norm_backward(Stream& stream, const NormShape& shape, const void* residual, const void* gamma,
                            const float* mean, const float* rstd, const void* d_normed, const DropoutKey& dropout,
                            bool has_d_residual, void* d_residual, void* d_branch, float* scratch, float* d_gamma,
                            float* d_beta);

}  // namespace tsugi::cuda
