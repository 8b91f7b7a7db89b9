// ELECTRA on token files: masked_lm's hidden tokens, for a generator and the model that tells what it put in their
// place (core/objective/replaced_tokens.h).
#pragma once

#include "core/objective/masked_lm.h"
#include "core/objective/replaced_tokens.h"

namespace tsugi {

/// What is drawn for training sample k is a pure function of the weights and (seed, k), whatever the ranks; validation
/// draws the same numbers whatever the seed.
class ReplacedTokenObjective : public MaskedLm {
 public:
  /// `config` is validated and `model` resolved, with its vocabulary. Throws as MaskedLm does.
  ReplacedTokenObjective(LanguageData data, int64_t sequence, uint64_t seed, Masking masking,
                         const ReplacedTokenDetection& config, const ModelConfig& model);

  const char* name() const override { return "replaced_token_detection"; }
  bool recordable() const override { return false; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool has_accuracy() const override { return false; }
  std::vector<std::string> score_names() const override { return ReplacedTokens::names(); }
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;

 private:
  uint64_t seed_;
  ReplacedTokens tokens_;
};

}  // namespace tsugi
