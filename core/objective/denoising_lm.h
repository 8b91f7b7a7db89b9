// Learning to say what is missing of a text: span corruption (Raffel et al. 2020, section 3.1.4), and mixtures of rules
// (Tay et al. 2022).
#pragma once

#include <optional>

#include "core/data/training_data.h"
#include "core/objective/pair_batch.h"

namespace tsugi {

/// Sample k takes the longest text of all rules from the data, draws a rule, and of the text takes what the rule needs:
/// a pure function of (seed, k), whatever the ranks. Validation always draws the same, whatever the seed.
class DenoisingLm : public Objective {
 public:
  /// Inputs of at most `sequence` tokens; `data` in continuous windows of joined documents (checked). Throws
  /// Error(kUsage) when `sequence` is too short for a rule, and as TrainingData does.
  DenoisingLm(LanguageData data, DenoisingRules rules, int64_t vocabulary, int64_t sequence, int32_t start_token,
              uint64_t seed);

  const char* name() const override { return "denoising"; }
  int64_t sequence() const override { return shape_.inputs; }
  bool has_accuracy() const override { return true; }
  double scored_share() const override {
    return static_cast<double>(shape_.targets) / static_cast<double>(shape_.inputs);
  }
  const TrainingData* training_data() const override { return &train_; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;

 private:
  int64_t validation_texts(int64_t limit) const;
  /// Rows 0 … rows - 1 of `texts` denoised, row r with the random numbers of sample first_sample + r.
  Batch pairs_of(const Batch& texts, int64_t rows, uint64_t seed, uint64_t first_sample) const;

  DenoisingRules rules_;
  PairShape shape_;
  int64_t text_;  ///< tokens that a sample takes
  int64_t vocabulary_;
  int32_t start_token_;
  uint64_t seed_;
  TrainingData train_;
  std::optional<TokenFile> validation_;
};

/// What a batch of these rules needs with inputs of `sequence` tokens. Throws Error(kUsage) when that is too short.
PairShape shape_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence);
/// The longest text of all rules.
int64_t text_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence);
/// The most sentinels that a rule needs.
int64_t sentinels_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence);

}  // namespace tsugi
