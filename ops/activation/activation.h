// GELU in its tanh form ("gelu_new" of Hugging Face): Hendrycks and Gimpel, "Gaussian error linear units" (2016).
#pragma once

#include "ops/tensor/context.h"

namespace tsugi {

/// d_pre = d_out · GELU'(pre_activation), element by element; d_pre may be d_out. All of one type (f32 or bf16).
/// The forward pass is the epilogue of matmul().
void gelu_backward(const Context& context, const Tensor& pre_activation, const Tensor& d_out, const Tensor& d_pre);

namespace reference {
/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
double gelu(double x);
double gelu_derivative(double x);
}  // namespace reference

}  // namespace tsugi
