#include "core/objective/dim.h"

#include <cmath>

#include "core/autograd/pair_functions.h"

namespace tsugi {

DimObjective::DimObjective(ImageBatches batches, const DeepInfoMax& config)
    : FeatureObjective(std::move(batches)), config_(config), patches_(FeatureObjective::sequence() - 1) {}

void DimObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const int64_t width = config.width();
  const int64_t out = config_.projection_width();
  global_whole_ = Projector::declare(store, "global_whole", width, width, out, 0.0f);
  local_whole_ = Projector::declare(store, "local_whole", width, width, out, 0.0f);
  picture_ = Projector::declare(store, "picture", patches_ * out, width, out, 0.0f);
  patch_ = Projector::declare(store, "patch", width, width, out, 0.0f);
  store.end_unit();
  store.add_prefix(kObjectivePrefix, 0);
}

Variable DimObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                const ForwardOptions& options) const {
  const int64_t rows = batch.patches.shape()[0];
  const Variable whole = model.pooled(tape, model.hidden_of_images(tape, batch.patches, options));
  const Variable embedded = model.patch_features(tape, batch.patches);
  const Variable patches = patch_.forward(tape, {as_matrix(embedded.value), embedded.gradient});
  // Recorded before the order of patches, whose gradient comes first then and has the patches' own shape.
  const Variable side_by_side{patches.value.reshape({rows, patches.value.elements() / rows}), patches.gradient};
  const Variable picture = picture_.forward(tape, side_by_side);
  const Variable in_order = select_rows(tape, patches, places_of(tape.context(), rows, patches_, 0, patches_));
  return in_f32(tape, concatenate_rows(tape, {in_order, local_whole_.forward(tape, whole), picture,
                                              global_whole_.forward(tape, whole)}));
}

FeatureLoss DimObjective::compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                                           std::span<const int32_t> numbers) const {
  (void)numbers;
  std::vector<PartPair> pairs;
  const auto add = [&](double weight, const PartPair& pair) {
    if (weight <= 0.0) return;
    pairs.push_back(pair);
    pairs.back().weight = static_cast<float>(weight);
  };
  add(config_.local_weight(), {patches_, 0, patches_});
  add(config_.global_weight(), {patches_ + 2, patches_ + 1, 1});
  // The mean is over the pairs.
  for (PartPair& pair : pairs) pair.weight *= static_cast<float>(pairs.size());
  PartLoss loss;
  loss.bound = config_.bound() == DeepInfoMax::NCE ? PartBound::kInfoNce : PartBound::kJsd;
  loss.scale = 1.0f / std::sqrt(static_cast<float>(config_.projection_width()));
  return contrast_parts(context, communicator, features, feature_rows(), pairs, loss);
}

}  // namespace tsugi
