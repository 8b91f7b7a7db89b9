// Entry points of the backends of this room.
#pragma once

#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi::cpu {

/// Losses and gradient of one chunk: logits f32 [r, V_padded] (destroyed), targets i32 [r], losses f64 [≥ r]. `extras`
/// f64 [≥ r, 2] receives each row's z-loss and smoothing; undefined if the options have neither.
/// d_logits [r, V_padded] receives the gradient of all terms: f32 (may be logits itself), bf16, or undefined.
void softmax_cross_entropy(const Context& context, const Tensor& logits, const Tensor& targets, int64_t vocabulary,
                           const CrossEntropyOptions& options, const Tensor& losses, const Tensor& extras,
                           const Tensor& d_logits);

}  // namespace tsugi::cpu
