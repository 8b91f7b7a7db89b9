// Batches of inputs and targets for encoder–decoders, and their loss with teacher forcing.
#pragma once

#include "core/objective/denoising.h"
#include "core/objective/objective.h"

namespace tsugi {

/// Places of a batch's rows.
struct PairShape {
  int64_t inputs = 0;
  int64_t targets = 0;
  bool padded = true;  ///< rows may be shorter
};

/// A batch without content.
Batch shape_of_pair_batch(int64_t rows, const PairShape& shape);

/// Row r are pairs[r]; rows beyond are padding. No pair may be longer than the shape says, and all inputs must fill it
/// where that is not padded (checked). The decoder reads `start_token`, then the target less its last token.
Batch fill_pairs(const std::vector<TokenPair>& pairs, int64_t rows, const PairShape& shape, int32_t start_token);

/// The decoder's output for the batch, [B, T', width].
Variable decoded_pairs(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options);

/// Σ of the losses of the batch's targets; on meta contexts too.
LossSum pair_loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options);
/// The same, and how many targets are the likeliest token.
EvaluationSum evaluate_pairs(Tape& tape, const Transformer& model, const Batch& batch);

}  // namespace tsugi
