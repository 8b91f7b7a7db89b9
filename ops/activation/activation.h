// Activations element by element, and the gated forms of feed-forward layers.
#pragma once

#include "ops/activation/activation_kind.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// out = f(x), element by element; out may be x. Both of one type (f32 or bf16). GELU in its tanh form is also the
/// epilogue of matmul(), with the same bits.
void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out);

/// d_pre = d_out · f'(pre_activation), element by element; d_pre may be d_out. All of one type (f32 or bf16).
void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                         const Tensor& d_out, const Tensor& d_pre);

/// out[r, c] = f(gate_up[r, c]) · gate_up[r, F + c]: rows of gate_up (last extent 2·F) hold F gates, then F values;
/// out's last extent is F. SwiGLU with kSilu, GeGLU with kGelu or kGeluErf, ReGLU with kRelu: Shazeer, "GLU variants
/// improve transformer" (2020), eq. 6. One type (f32 or bf16).
void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up, const Tensor& out);

/// d_gate_up, laid out like gate_up (and may be gate_up itself), given d_out.
void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                               const Tensor& d_out, const Tensor& d_gate_up);

namespace reference {
double activation(Activation activation, double x);
double activation_derivative(Activation activation, double x);
}  // namespace reference

}  // namespace tsugi
