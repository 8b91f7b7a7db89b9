#include "core/objective/amdim.h"

#include <cmath>

#include "core/autograd/pair_functions.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr uint32_t kDrawnPatchSite = 0x414D4449;

}  // namespace

AmdimObjective::AmdimObjective(ImageBatches batches, const AugmentedInfoMax& config)
    : TwoViews(std::move(batches), config.projection_width()),
      config_(config),
      patches_(FeatureObjective::sequence() - 1) {}

void AmdimObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  whole_ = Projector::declare(store, "whole", config.width(), config.width(), config_.projection_width(), 0.0f);
  patch_ = Projector::declare(store, "patch", config.width(), config.width(), config_.projection_width(), 0.0f);
  store.end_unit();
  store.add_prefix(kObjectivePrefix, 0);
}

Batch AmdimObjective::batch_shape(int64_t rows, Documents documents) const {
  Batch batch = TwoViews::batch_shape(rows, documents);
  batch.positions = Tensor::view(nullptr, {2 * rows}, DType::kI32);
  return batch;
}

Batch AmdimObjective::with_drawn(Batch batch) const {
  const int64_t views = batch.patches.shape()[0];
  batch.positions = host_integers({views});
  for (int64_t row = 0; row < views; ++row) {
    // first_sample counts views.
    const uint64_t sample = batch.first_sample / 2 + static_cast<uint64_t>(row % (views / 2));
    const RandomStream stream{batches().seed(), sample, kDrawnPatchSite};
    const uint64_t word = stream.word(static_cast<uint64_t>(row / (views / 2)));
    const auto place = static_cast<int64_t>(word * static_cast<uint64_t>(patches_) >> 32);
    batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * patches_ + place);
  }
  return batch;
}

Batch AmdimObjective::training_batch(uint64_t first_sample, int64_t count) const {
  return with_drawn(TwoViews::training_batch(first_sample, count));
}

Batch AmdimObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  return with_drawn(TwoViews::validation_batch(index, count, limit));
}

Variable AmdimObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                  const ForwardOptions& options) const {
  const Context& context = tape.context();
  const int64_t views = batch.patches.shape()[0];
  const int64_t rows = views / 2;
  const Variable whole = whole_.forward(tape, model.pooled(tape, model.hidden_of_images(tape, batch.patches, options)));
  const Variable embedded = model.patch_features(tape, batch.patches);
  const Variable patch = patch_.forward(tape, {as_matrix(embedded.value), embedded.gradient});
  const Variable all = concatenate_rows(tape, {patch, whole});
  const Tensor drawn = on_host(context, batch.positions);
  const Tensor order = integers_of(context, {feature_rows() * rows}, [&](int32_t* places) {
    for (int64_t i = 0; i < feature_rows() * rows; ++i) {
      const int64_t block = i / rows;
      const int64_t view = block / view_rows() * rows + i % rows;
      const int64_t kind = block % view_rows();
      int64_t from = view * patches_ + kind;
      if (kind == patches_) from = views * patches_ + view;
      if (kind == patches_ + 1) from = drawn.data<int32_t>()[view];
      places[i] = static_cast<int32_t>(from);
    }
  });
  return in_f32(tape, select_rows(tape, all, order));
}

FeatureLoss AmdimObjective::compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                                             std::span<const int32_t> numbers) const {
  (void)numbers;
  std::vector<PartPair> pairs;
  for (int64_t view = 0; view < 2; ++view) {
    const int64_t own = view * view_rows();
    const int64_t other = (1 - view) * view_rows();
    pairs.push_back({own + patches_, other, patches_});
    pairs.push_back({own + patches_ + 1, other, patches_});
  }
  const PartLoss loss{PartBound::kInfoNce, 1.0f / std::sqrt(static_cast<float>(config_.projection_width())),
                      config_.clip(), config_.penalty()};
  return contrast_parts(context, communicator, features, feature_rows(), pairs, loss);
}

}  // namespace tsugi
