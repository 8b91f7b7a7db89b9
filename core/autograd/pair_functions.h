// Differentiable functions of several kinds of features.
#pragma once

#include <vector>

#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"

namespace tsugi {

/// Unit rows a and b f32 [R, D] → f32 [2·R, D], those of a first, whose products are logits
/// (ops/logit_scale/logit_scale.h). `offset` [1]: of ln of the scale, from its first value.
Variable scale_pair(Tape& tape, const Variable& a, const Variable& b, double first_scale, const Parameter& offset);

/// x in f32.
Variable in_f32(Tape& tape, const Variable& x);

/// Matrices of one width, one below the other: [R1, D], [R2, D], … → [R1 + R2 + …, D].
Variable concatenate_rows(Tape& tape, const std::vector<Variable>& parts);

}  // namespace tsugi
