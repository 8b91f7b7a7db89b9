// Language modelling without data: for plans and for measurements.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "core/objective/masked_lm.h"
#include "core/objective/next_sentence.h"
#include "core/objective/objective.h"
#include "core/objective/pair_batch.h"
#include "core/objective/replaced_tokens.h"

namespace tsugi {

/// The shapes of a run's objective without its data: what a dry run needs.
class PlannedLm : public Objective {
 public:
  /// `config` is validated and knows its vocabulary.
  explicit PlannedLm(const RunConfig& config);
  const char* name() const override { return pairs_ ? "pairs" : masked_ ? "masked_lm" : "causal_lm"; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  int64_t sequence() const override { return config_.batch().sequence(); }
  double scored_share() const override;
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t, int64_t count) const override { return batch_shape(count, Documents::kJoined); }
  int64_t validation_batches(int64_t, int64_t) const override { return 0; }
  Batch validation_batch(int64_t, int64_t count, int64_t) const override {
    return batch_shape(count, Documents::kJoined);
  }
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  std::map<std::string, std::string> fingerprint() const override { return {}; }

 protected:
  const RunConfig& config() const { return config_; }
  /// Null: causal, or pairs.
  const Masking* masking() const { return masked_ ? &masking_ : nullptr; }
  /// Masked, with pairs of pieces of text.
  bool next_sentence() const { return masked_ && config_.objective().masked_lm().next_sentence(); }
  /// Nothing: causal, or masked.
  const std::optional<PairShape>& pairs() const { return pairs_; }

 private:
  RunConfig config_;
  bool masked_;
  Masking masking_;
  std::optional<PairShape> pairs_;
  std::optional<ReplacedTokens> replaced_;  ///< beside masked_
};

/// The same with tokens drawn from the vocabulary, as functions of the sample's index.
class RandomTokensLm : public PlannedLm {
 public:
  using PlannedLm::PlannedLm;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;

 private:
  Batch random_pairs(uint64_t first_sample, int64_t count) const;
  Batch random_sentences(uint64_t first_sample, int64_t count) const;
};

}  // namespace tsugi
