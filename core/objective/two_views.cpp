#include "core/objective/two_views.h"

#include "core/autograd/image_functions.h"

namespace tsugi {
namespace {

/// Samples of validation are keyed apart from those of training.
constexpr uint64_t kValidationSamples = uint64_t{1} << 62;
constexpr float kProjectorDeviation = 0.02f;

}  // namespace

TwoViews::TwoViews(ImageBatches batches, int64_t projection_width)
    : FeatureObjective(std::move(batches)), projection_width_(projection_width) {}

void TwoViews::declare_heads(ParameterStore& store, const ModelConfig& config) {
  projector_ =
      Projector::declare(store, "projector", config.width(), config.width(), projection_width_, kProjectorDeviation);
  store.end_unit();
}

Batch TwoViews::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches().shape(2 * rows);
}

Batch TwoViews::two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample, int64_t first_image) const {
  Batch batch = batches().empty(2 * count);
  batch.first_sample = 2 * first_sample;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(i);
    const int64_t image = first_image < 0 ? batches().training_image(sample) : first_image + i;
    for (uint32_t view = 0; view < 2; ++view) {
      const int64_t row = int64_t{view} * count + i;
      batches().fill(batch, row, {&set, image, sample, view, true, 0});
      if (!set.labels.empty()) batch.targets.data<int32_t>()[row] = set.labels[static_cast<size_t>(image)];
    }
  }
  return batch;
}

Batch TwoViews::training_batch(uint64_t first_sample, int64_t count) const {
  return two_views_of(batches().data().train, count, first_sample, -1);
}

Batch TwoViews::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  const uint64_t first = kValidationSamples + static_cast<uint64_t>(index * count);
  return two_views_of(*batches().data().validation, count, first, index * count);
}

Variable TwoViews::project(Tape& tape, const Transformer& model, const Tensor& patches,
                           const ForwardOptions& options) const {
  const Variable pooled = model.pooled(tape, model.hidden_of_images(tape, patches, options));
  return normalize_rows(tape, projector_.forward(tape, pooled));
}

Variable TwoViews::features(Tape& tape, const Transformer& model, const Batch& batch,
                            const ForwardOptions& options) const {
  return project(tape, model, batch.patches, options);
}

int32_t TwoViews::number_of(int64_t image) const {
  const std::vector<int32_t>& labels = batches().data().train.labels;
  return labels.empty() ? kIgnoreIndex : labels[static_cast<size_t>(image)];
}

}  // namespace tsugi
