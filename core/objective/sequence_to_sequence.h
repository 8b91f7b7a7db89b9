// The response to a prompt (Sutskever et al. 2014), with teacher forcing.
#pragma once

#include <vector>

#include "core/objective/pair_batch.h"

namespace tsugi {

/// The loss is the mean over the tokens of the responses of the global batch. Each epoch visits every pair once, in an
/// order of its own; sample k is a pure function of (seed, k).
class SequenceToSequenceLm : public Objective {
 public:
  /// No pair may be longer than `shape` (checked).
  SequenceToSequenceLm(std::vector<TokenPair> train, std::vector<TokenPair> validation, PairShape shape,
                       int32_t start_token, uint64_t seed);

  const char* name() const override { return "sequence_to_sequence"; }
  int64_t sequence() const override { return shape_.inputs; }
  bool has_accuracy() const override { return true; }
  double scored_share() const override {
    return static_cast<double>(shape_.targets) / static_cast<double>(shape_.inputs);
  }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;
  int64_t pairs() const { return static_cast<int64_t>(train_.size()); }

 private:
  std::vector<TokenPair> train_;
  std::vector<TokenPair> validation_;
  PairShape shape_;
  int32_t start_token_;
  uint64_t seed_;
};

}  // namespace tsugi
