// What the CPU path of the rotary room provides; shapes are checked.
#pragma once

#include "ops/rotary/rotary.h"

namespace tsugi::cpu {

/// Tokens of one piece of the backward pass.
inline constexpr int64_t kRotaryTokens = 32;

void rotary_forward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& to,
                    const Tensor& rstd);

/// `partial` f32 [ceil(B·T / kRotaryTokens), 2, head_dim] with the norm, else undefined.
void rotary_backward(const Context& context, const Rotary& rotary, const Tensor& from, const Tensor& rstd,
                     const Tensor& gradient, const Tensor& partial, const Tensor& d_query_gamma,
                     const Tensor& d_key_gamma);

}  // namespace tsugi::cpu
