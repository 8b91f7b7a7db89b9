#include "core/objective/two_views.h"

#include <algorithm>

#include "core/autograd/image_functions.h"

namespace tsugi {
namespace {

/// Samples of validation are keyed apart from those of training.
constexpr uint64_t kValidationSamples = uint64_t{1} << 62;
constexpr float kProjectorDeviation = 0.02f;

}  // namespace

TwoViews::TwoViews(ImageBatches batches, int64_t projection_width)
    : batches_(std::move(batches)), projection_width_(projection_width) {}

void TwoViews::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const auto declare = [&](const char* name, int64_t rows) {
    return Linear::declare(store, {.names = {name},
                                   .in = config.width(),
                                   .rows = {rows},
                                   .deviation = kProjectorDeviation,
                                   .layout = WeightLayout::kOutIn});
  };
  output_layer_ = declare("projector.out", projection_width_);
  hidden_layer_ = declare("projector.hidden", config.width());
  store.end_unit();
}

Batch TwoViews::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(2 * rows);
}

Batch TwoViews::two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample, int64_t first_image) const {
  Batch batch = batches_.empty(2 * count);
  batch.first_sample = 2 * first_sample;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(i);
    const int64_t image = first_image < 0 ? batches_.training_image(sample) : first_image + i;
    for (uint32_t view = 0; view < 2; ++view) {
      const int64_t row = int64_t{view} * count + i;
      batches_.fill(batch, row, {&set, image, sample, view, true, 0});
      if (!set.labels.empty()) batch.targets.data<int32_t>()[row] = set.labels[static_cast<size_t>(image)];
    }
  }
  return batch;
}

Batch TwoViews::training_batch(uint64_t first_sample, int64_t count) const {
  return two_views_of(batches_.data().train, count, first_sample, -1);
}

int64_t TwoViews::validation_batches(int64_t count, int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count();
  return (limit > 0 ? std::min(limit, all) : all) / count;
}

Batch TwoViews::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  const uint64_t first = kValidationSamples + static_cast<uint64_t>(index * count);
  return two_views_of(*batches_.data().validation, count, first, index * count);
}

Variable TwoViews::project(Tape& tape, const Transformer& model, const Tensor& patches,
                           const ForwardOptions& options) const {
  const Variable pooled = model.pooled(tape, model.hidden_of_images(tape, patches, options));
  const Variable hidden = hidden_layer_.forward(tape, pooled, Activation::kRelu);
  return normalize_rows(tape, output_layer_.forward(tape, hidden));
}

Variable TwoViews::features(Tape& tape, const Transformer& model, const Batch& batch,
                            const ForwardOptions& options) const {
  return project(tape, model, batch.patches, options);
}

FeatureLoss TwoViews::compare(const Context& context, Communicator& communicator, const Tensor& all,
                              uint64_t first_sample) const {
  const std::vector<int32_t>& labels = batches_.data().train.labels;
  std::vector<int32_t> classes;
  const auto images = static_cast<uint64_t>(all.shape()[0] * all.shape()[1] / 2);
  for (uint64_t i = 0; i < images && !labels.empty() && !context.meta(); ++i) {
    classes.push_back(labels[static_cast<size_t>(batches_.training_image(first_sample + i))]);
  }
  return compare_views(context, communicator, all, classes);
}

FeatureLoss TwoViews::compare_alone(const Context& context, const Tensor& features, const Batch& batch) const {
  const std::unique_ptr<Communicator> alone = make_local_communicator();
  const int64_t rows = features.shape()[0];
  std::span<const int32_t> classes;
  if (!context.meta()) classes = {batch.targets.data<int32_t>(), static_cast<size_t>(rows / 2)};
  return compare_views(context, *alone, features.reshape({1, rows, features.shape()[1]}), classes);
}

LossSum TwoViews::loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const {
  const Variable z = features(tape, model, batch, options);
  const FeatureLoss loss = compare_alone(tape.context(), z.value, batch);
  if (z.requires_gradient()) z.gradient->add(tape.context(), loss.gradient.reshape(z.value.shape()));
  return loss.losses.front();
}

EvaluationSum TwoViews::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const FeatureLoss loss = compare_alone(tape.context(), features(tape, model, batch, {}).value, batch);
  return {loss.losses.front(), loss.nearest};
}

}  // namespace tsugi
