// What the CPU path of the activation room provides; shapes are checked.
#pragma once

#include "ops/tensor/context.h"

namespace tsugi::cpu {

void gelu_backward(const Context& context, const Tensor& pre_activation, const Tensor& d_out, const Tensor& d_pre);

}  // namespace tsugi::cpu
