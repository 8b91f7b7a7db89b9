// Entry points of the backends of this room.
#pragma once

#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi::cpu {

/// Losses and gradient of one chunk: logits f32 [r, V_padded] (destroyed), targets i32 [r], losses f64 [r].
/// d_logits [r, V_padded] receives softmax - onehot: f32 (may be logits itself), bf16, or undefined (no gradient).
void softmax_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocabulary,
                           const Tensor& losses, const Tensor& d_logits);

}  // namespace tsugi::cpu
