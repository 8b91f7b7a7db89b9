// Next-token prediction on token files.
#pragma once

#include <optional>
#include <vector>

#include "core/data/token_file.h"
#include "core/data/training_data.h"
#include "core/objective/objective.h"

namespace tsugi {

class CausalLm : public Objective {
 public:
  /// Sequences of `sequence` tokens; ids must lie below `vocabulary`. Throws as TrainingData does, and when validation
  /// lacks the documents that are to be kept apart.
  CausalLm(LanguageData data, int64_t vocabulary, int64_t sequence, uint64_t seed,
           const CausalLanguageModel& config = {});
  /// One training file in continuous windows.
  CausalLm(TokenFile train, std::optional<TokenFile> validation, int64_t vocabulary, int64_t sequence, uint64_t seed,
           const CausalLanguageModel& config = {}, Documents documents = Documents::kJoined);

  const char* name() const override { return "causal_lm"; }
  int64_t sequence() const override { return sequence_; }
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  /// The plain cross-entropy, without what config adds to it in training.
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;
  const TrainingData* training_data() const override { return &train_; }

 private:
  int64_t validation_sequences(int64_t limit) const;

  TrainingData train_;
  std::optional<TokenFile> validation_;
  int64_t vocabulary_;
  int64_t sequence_;
  CausalLanguageModel config_;
  Documents documents_;
};

/// Σ of the losses of predicting batch.targets, with the model's soft cap and what `config` adds; on meta contexts too.
LossSum causal_lm_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options,
                       const CausalLanguageModel& config);

}  // namespace tsugi
