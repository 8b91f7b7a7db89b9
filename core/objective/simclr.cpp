#include "core/objective/simclr.h"

#include <algorithm>

#include "core/autograd/image_functions.h"
#include "core/objective/nt_xent.h"

namespace tsugi {
namespace {

/// Samples of validation are keyed apart from those of training.
constexpr uint64_t kValidationSamples = uint64_t{1} << 62;
constexpr float kProjectorDeviation = 0.02f;

}  // namespace

SimClrObjective::SimClrObjective(ImageBatches batches, const SimClr& config)
    : batches_(std::move(batches)), config_(config) {}

void SimClrObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const auto declare = [&](const char* name, int64_t rows) {
    return Linear::declare(store, {.names = {name},
                                   .in = config.width(),
                                   .rows = {rows},
                                   .deviation = kProjectorDeviation,
                                   .layout = WeightLayout::kOutIn});
  };
  output_layer_ = declare("projector.out", config_.projection_width());
  hidden_layer_ = declare("projector.hidden", config.width());
  store.end_unit();
}

Batch SimClrObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(2 * rows);
}

Batch SimClrObjective::two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample,
                                    int64_t first_image) const {
  Batch batch = batches_.empty(2 * count);
  batch.first_sample = 2 * first_sample;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(i);
    const int64_t image = first_image < 0 ? batches_.training_image(sample) : first_image + i;
    for (uint32_t view = 0; view < 2; ++view) {
      batches_.fill(batch, int64_t{view} * count + i, {&set, image, sample, view, true, 0});
    }
  }
  return batch;
}

Batch SimClrObjective::training_batch(uint64_t first_sample, int64_t count) const {
  return two_views_of(batches_.data().train, count, first_sample, -1);
}

int64_t SimClrObjective::validation_batches(int64_t count, int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count();
  return (limit > 0 ? std::min(limit, all) : all) / count;
}

Batch SimClrObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  (void)limit;
  const uint64_t first = kValidationSamples + static_cast<uint64_t>(index * count);
  return two_views_of(*batches_.data().validation, count, first, index * count);
}

Variable SimClrObjective::features(Tape& tape, const Transformer& model, const Batch& batch,
                                   const ForwardOptions& options) const {
  const Variable pooled = model.pooled(tape, model.hidden_of_images(tape, batch.patches, options));
  const Variable hidden = hidden_layer_.forward(tape, pooled, Activation::kRelu);
  return normalize_rows(tape, output_layer_.forward(tape, hidden));
}

FeatureLoss SimClrObjective::compare(const Context& context, Communicator& communicator, const Tensor& all) const {
  return nt_xent(context, communicator, all, config_.temperature());
}

LossSum SimClrObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                              const ForwardOptions& options) const {
  const Variable z = features(tape, model, batch, options);
  const Tensor gradient = z.requires_gradient() ? tape.context().empty(z.value.shape(), DType::kF32) : Tensor();
  const InfoNceSum sum = nt_xent(tape.context(), z.value, config_.temperature(), gradient);
  if (z.requires_gradient()) z.gradient->add(tape.context(), gradient);
  return sum.loss;
}

EvaluationSum SimClrObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const InfoNceSum sum =
      nt_xent(tape.context(), features(tape, model, batch, {}).value, config_.temperature(), Tensor());
  return {sum.loss, sum.nearest};
}

}  // namespace tsugi
