#include "core/objective/cpc.h"

#include <cmath>

#include "core/autograd/functions.h"
#include "core/autograd/pair_functions.h"

namespace tsugi {
CpcObjective::CpcObjective(ImageBatches batches, const ContrastivePrediction& config)
    : FeatureObjective(std::move(batches)),
      config_(config),
      patches_(FeatureObjective::sequence() - 1),
      blocks_(patches_) {
  CHECK_LT(config_.steps(), patches_);
  for (int64_t k = 1; k <= config_.steps(); ++k) {
    for (int64_t t = 0; t + k < patches_; ++t) pairs_.push_back({blocks_++, t + k});
  }
}

void CpcObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  predictions_.clear();
  for (int64_t k = 1; k <= config_.steps(); ++k) {
    // Products are scores as they are: smaller weights would make next to nothing of them, and of their slopes.
    predictions_.push_back(Linear::declare(store, {.names = {"prediction." + std::to_string(k)},
                                                   .in = config.width(),
                                                   .rows = {config_.projection_width()},
                                                   .deviation = 1.0f / std::sqrt(static_cast<float>(config.width())),
                                                   .bias = false,
                                                   .layout = WeightLayout::kOutIn}));
  }
  code_ = Projector::declare(store, "code", config.width(), config.width(), config_.projection_width(), 0.0f);
  store.end_unit();
  store.add_prefix(kObjectivePrefix, 0);
}

Variable CpcObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                const ForwardOptions& options) const {
  const Context& context = tape.context();
  const int64_t rows = batch.patches.shape()[0];
  const Variable hidden = model.hidden_of_images(tape, batch.patches, options);
  const Variable embedded = model.patch_features(tape, batch.patches);
  const Variable in_order = select_rows(tape, embedded, places_of(context, rows, patches_, 0, patches_));
  std::vector<Variable> parts{code_.forward(tape, in_order)};
  for (size_t k = 1; k <= predictions_.size(); ++k) {
    // The class token comes first: patch t is token t.
    const int64_t places = patches_ - static_cast<int64_t>(k);
    const Variable seen = select_rows(tape, hidden, places_of(context, rows, patches_ + 1, 1, places));
    parts.push_back(predictions_[k - 1].forward(tape, seen));
  }
  return in_f32(tape, concatenate_rows(tape, parts));
}

FeatureLoss CpcObjective::compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                                           std::span<const int32_t> numbers) const {
  (void)numbers;
  return contrast_blocks(context, communicator, features, blocks_, pairs_, each_by_itself(context, features, blocks_));
}

}  // namespace tsugi
