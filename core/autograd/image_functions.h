// Differentiable functions of models of pictures, and of features that are compared.
#pragma once

#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"

namespace tsugi {

/// Class token and patches with their positions: embedded [B, N, C], class_token [1, C], positions [1 + N, C] →
/// [B, 1 + N, C].
Variable image_tokens(Tape& tape, const Variable& embedded, const Parameter& class_token, const Parameter& positions);

/// x [B, 1 + N, C] → [B, C], without the class token.
Variable mean_of_patches(Tape& tape, const Variable& x);

/// Rows of length 1, in f32: x [R, C] → [R, C].
Variable normalize_rows(Tape& tape, const Variable& x);

}  // namespace tsugi
