#include "core/objective/causal_lm.h"

#include <algorithm>

namespace tsugi {

CausalLm::CausalLm(LanguageData data, int64_t vocabulary, int64_t sequence, uint64_t seed,
                   const CausalLanguageModel& config)
    : train_(std::move(data.train), data.packing, data.documents, vocabulary, sequence, seed),
      validation_(std::move(data.validation)),
      vocabulary_(vocabulary),
      sequence_(sequence),
      config_(config),
      documents_(data.documents) {
  if (documents_ == Documents::kApart && validation_) require_documents(*validation_);
}

CausalLm::CausalLm(TokenFile train, std::optional<TokenFile> validation, int64_t vocabulary, int64_t sequence,
                   uint64_t seed, const CausalLanguageModel& config, Documents documents)
    : CausalLm(
          LanguageData{{TrainingSource{std::move(train), 1.0}}, std::move(validation), Packing::kContinuous, documents},
          vocabulary, sequence, seed, config) {}

Batch CausalLm::training_batch(uint64_t first_sample, int64_t count) const { return train_.batch(first_sample, count); }

int64_t CausalLm::validation_sequences(int64_t limit) const {
  if (!validation_) return 0;
  const int64_t all = (validation_->tokens() - 1) / sequence_;
  return limit > 0 ? std::min(limit, all) : all;
}

int64_t CausalLm::validation_batches(int64_t count, int64_t limit) const {
  return (validation_sequences(limit) + count - 1) / count;
}

Batch CausalLm::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const int64_t first = index * count;
  return fill_validation_batch(*validation_, vocabulary_, first, std::min(count, validation_sequences(limit) - first),
                               count, sequence_, documents_);
}

LossSum CausalLm::loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const {
  return causal_lm_loss(tape, model, batch, options, config_);
}

EvaluationSum CausalLm::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  return {causal_lm_loss(tape, model, batch, {}, {}), 0};
}

std::map<std::string, std::string> CausalLm::fingerprint() const {
  std::map<std::string, std::string> facts = train_.fingerprint();
  if (validation_) facts["validation data"] = std::to_string(validation_->fingerprint());
  return facts;
}

LossSum causal_lm_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options,
                       const CausalLanguageModel& config) {
  options.first_key = batch.first_key;
  const Variable hidden = model.hidden(tape, batch.tokens, options);
  CrossEntropyOptions loss;
  loss.soft_cap = model.config().logit_soft_cap();
  loss.z_loss = config.z_loss();
  loss.label_smoothing = config.label_smoothing();
  return cross_entropy_loss(tape, model.head_input(tape, hidden), model.output_weight(), batch.targets,
                            model.config().vocabulary(), {}, loss, model.output_bias());
}

}  // namespace tsugi
