#include "core/objective/replaced_token_detection.h"

namespace tsugi {
namespace {

constexpr uint64_t kValidationDraws = 0x454C4543;

}  // namespace

ReplacedTokenObjective::ReplacedTokenObjective(LanguageData data, int64_t sequence, uint64_t seed, Masking masking,
                                               const ReplacedTokenDetection& config, const ModelConfig& model)
    : MaskedLm(std::move(data), sequence, seed, std::move(masking)),
      seed_(seed),
      tokens_(config, model, MaskedLm::scored_share()) {}

void ReplacedTokenObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  (void)config;
  tokens_.declare(store);
}

LossSum ReplacedTokenObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                                     const ForwardOptions& options) const {
  return tokens_.loss(tape, model, batch, options, seed_);
}

EvaluationSum ReplacedTokenObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  return tokens_.evaluate(tape, model, batch, kValidationDraws);
}

}  // namespace tsugi
