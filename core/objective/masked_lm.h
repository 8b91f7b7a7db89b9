// Masked language modelling on token files (Devlin et al. 2019, section 3.1), with other tokens hidden in every epoch
// (Liu et al. 2019, section 4.1).
#pragma once

#include <optional>

#include "core/data/training_data.h"
#include "core/objective/masking.h"
#include "core/objective/objective.h"

namespace tsugi {

/// What is hidden in training sample k is a pure function of (seed, k), whatever the ranks; validation always hides the
/// same, whatever the seed. A row has room for the same number of targets, `probability` of its tokens: only their
/// outputs go through the head.
class MaskedLm : public Objective {
 public:
  /// Sequences of `sequence` tokens; ids must lie below masking.vocabulary. Throws as TrainingData does, and when
  /// validation lacks the documents that are to be kept apart.
  MaskedLm(LanguageData data, int64_t sequence, uint64_t seed, Masking masking);

  const char* name() const override { return "masked_lm"; }
  int64_t sequence() const override { return sequence_; }
  bool has_accuracy() const override { return true; }
  double scored_share() const override;
  const TrainingData* training_data() const override { return &train_; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;

 private:
  int64_t validation_sequences(int64_t limit) const;
  Batch hide(Batch batch, uint64_t seed, uint64_t first_sample) const;

  TrainingData train_;
  std::optional<TokenFile> validation_;
  int64_t sequence_;
  uint64_t seed_;
  Documents documents_;
  bool padded_;  ///< rows may end in padding
  Masking masking_;
};

/// A batch of MaskedLm's without content. `padded`: rows may end in padding.
Batch shape_of_masked_batch(int64_t rows, int64_t sequence, Documents documents, bool padded, const Masking& masking);

/// Σ of the losses of batch.targets at batch.positions; on meta contexts too.
LossSum masked_lm_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options);

/// The outputs of hidden() at `positions`, ready for the projection to the vocabulary; Σ of the losses of `targets`
/// there; and how many of these are the likeliest token.
Variable masked_rows(Tape& tape, const Transformer& model, const Variable& hidden, const Tensor& positions);
LossSum masked_rows_loss(Tape& tape, const Transformer& model, const Variable& rows, const Tensor& targets);
int64_t masked_rows_right(const Context& context, const Transformer& model, const Variable& rows,
                          const Tensor& targets);

}  // namespace tsugi
