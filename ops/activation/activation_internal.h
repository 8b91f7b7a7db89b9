// What the CPU path of the activation room provides; shapes are checked.
#pragma once

#include "ops/activation/activation.h"

namespace tsugi::cpu {

void activation_forward(const Context& context, Activation activation, const Tensor& x, const Tensor& out);
void activation_backward(const Context& context, Activation activation, const Tensor& pre_activation,
                         const Tensor& d_out, const Tensor& d_pre);
void gated_activation_forward(const Context& context, Activation activation, const Tensor& gate_up, const Tensor& out);
void gated_activation_backward(const Context& context, Activation activation, const Tensor& gate_up,
                               const Tensor& d_out, const Tensor& d_gate_up);

}  // namespace tsugi::cpu
