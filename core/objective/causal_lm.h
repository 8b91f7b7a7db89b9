// Next-token prediction on token files.
#pragma once

#include <optional>

#include "core/data/sampler.h"
#include "core/data/token_file.h"
#include "core/objective/objective.h"

namespace tsugi {

class CausalLm : public Objective {
 public:
  /// Sequences of `sequence` tokens; ids must lie below `vocabulary`.
  CausalLm(TokenFile train, std::optional<TokenFile> validation, int64_t vocabulary, int64_t sequence, uint64_t seed);

  const char* name() const override { return "causal_lm"; }
  int64_t sequence() const override { return sequence_; }
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  std::map<std::string, std::string> fingerprint() const override;

 private:
  int64_t validation_sequences(int64_t limit) const;

  TokenFile train_;
  std::optional<TokenFile> validation_;
  int64_t vocabulary_;
  int64_t sequence_;
  Sampler sampler_;
};

}  // namespace tsugi
