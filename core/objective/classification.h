// Classification of short texts (core/model/classifier_head.h says by which head).
#pragma once

#include <string>
#include <vector>

#include "core/model/classifier_head.h"
#include "core/objective/objective.h"

namespace tsugi {

/// One text as token ids, with its class.
struct LabelledTokens {
  std::vector<int32_t> tokens;
  int32_t label = 0;
};

class Classification : public Objective {
 public:
  /// Texts longer than `sequence` keep their first `sequence` tokens; shorter ones are padded on the right, where
  /// causal attention does not look, and `bidirectional` attention is told not
  /// to; the head then reads the first token. Throws Error(kData) when there is nothing to train on.
  Classification(std::vector<LabelledTokens> train, std::vector<LabelledTokens> validation, int64_t labels,
                 int64_t sequence, uint64_t seed, bool bidirectional = false);

  const char* name() const override { return "classification"; }
  int64_t sequence() const override { return sequence_; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  bool has_accuracy() const override { return true; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;

 private:
  Variable features(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) const;
  Batch fill(const std::vector<LabelledTokens>& examples, const std::vector<int64_t>& rows, int64_t count) const;

  std::vector<LabelledTokens> train_;
  std::vector<LabelledTokens> validation_;
  int64_t labels_;
  int64_t sequence_;
  uint64_t seed_;
  bool bidirectional_;
  ClassifierHead head_;
};

}  // namespace tsugi
