// Language modelling without data: for plans and for measurements.
#pragma once

#include <map>
#include <string>

#include "core/objective/causal_lm.h"

namespace tsugi {

/// The causal objective's shapes without its data: what a dry run needs.
class PlannedLm : public Objective {
 public:
  PlannedLm(const CausalLanguageModel& config, int64_t sequence) : config_(config), sequence_(sequence) {}
  const char* name() const override { return "causal_lm"; }
  int64_t sequence() const override { return sequence_; }
  Batch training_batch(uint64_t, int64_t count) const override { return shape_of_batch(count, sequence_, false); }
  int64_t validation_batches(int64_t, int64_t) const override { return 0; }
  Batch validation_batch(int64_t, int64_t count, int64_t) const override {
    return shape_of_batch(count, sequence_, false);
  }
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override {
    return causal_lm_loss(tape, model, batch, options, config_);
  }
  std::map<std::string, std::string> fingerprint() const override { return {}; }

 private:
  CausalLanguageModel config_;
  int64_t sequence_;
};

/// The same with tokens drawn from `vocabulary`, as functions of the sample's index.
class RandomTokensLm : public PlannedLm {
 public:
  RandomTokensLm(const CausalLanguageModel& config, int64_t sequence, int64_t vocabulary)
      : PlannedLm(config, sequence), vocabulary_(vocabulary) {}
  Batch training_batch(uint64_t first_sample, int64_t count) const override;

 private:
  int64_t vocabulary_;
};

}  // namespace tsugi
