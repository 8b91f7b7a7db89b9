// Differentiable functions of models of pictures, and of features that are compared.
#pragma once

#include "core/autograd/parameter_store.h"
#include "core/autograd/tape.h"
#include "ops/cross_entropy/cross_entropy.h"

namespace tsugi {

/// Class token and patches with their positions: embedded [B, N, C], class_token [1, C], positions [1 + N, C] or
/// undefined → [B, 1 + N, C].
Variable image_tokens(Tape& tape, const Variable& embedded, const Parameter& class_token, const Parameter& positions);

/// x [B, 1 + N, C] → [B, C], without the class token.
Variable mean_of_patches(Tape& tape, const Variable& x);

/// Rows of x [N, C] (leading axes flattened), each at its index among `rows` rows of zeros: [rows, C]. No index twice.
Variable spread_rows(Tape& tape, const Variable& x, const Tensor& indices, int64_t rows);

/// Σ of the squared errors of ops/squared_error, the end of the tape: gradients are those of the sum.
LossSum squared_error_loss(Tape& tape, const Variable& x, const Tensor& targets, const Tensor& indices, bool normalize);

/// Rows of length 1, in f32: x [R, C] → [R, C].
Variable normalize_rows(Tape& tape, const Variable& x);

}  // namespace tsugi
