#include "core/objective/relative_position.h"

#include <algorithm>

#include "core/nn/accuracy.h"
#include "core/objective/feature_objective.h"

namespace tsugi {
namespace {

constexpr int64_t kPlaces = 8;
constexpr float kPlaceDeviation = 0.02f;

enum PlaceWord : uint64_t { kPlace, kOriginX, kOriginY };

/// One of 0 … count - 1.
int64_t drawn(const RandomStream& stream, PlaceWord word, int64_t count) {
  return static_cast<int64_t>(uint64_t{stream.word(word)} * static_cast<uint64_t>(count) >> 32);
}

}  // namespace

RelativePositionObjective::RelativePositionObjective(ImageBatches batches, const RelativePosition& config,
                                                     const ModelConfig& model)
    : batches_(std::move(batches)),
      size_(model.image_size()),
      patch_(model.patch_size()),
      step_(patch_ + static_cast<int64_t>(config.gap() * static_cast<float>(patch_))) {
  CHECK_LE(2 * step_ + patch_, size_);
}

void RelativePositionObjective::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const int64_t padded = kVocabularyPadding;
  weight_ = store.add("projector.out.weight", {kPlaces, config.width()},
                      {Initialization::Kind::kNormal, kPlaceDeviation}, true, padded);
  bias_ = store.add("projector.out.bias", {kPlaces}, {Initialization::Kind::kZeros}, false, padded);
  // One layer on both patches' outputs, as two.
  const auto declare = [&](const char* name, bool bias) {
    return Linear::declare(store, {.names = {name},
                                   .in = config.width(),
                                   .rows = {config.width()},
                                   .deviation = kPlaceDeviation,
                                   .bias = bias,
                                   .layout = WeightLayout::kOutIn});
  };
  centre_layer_ = declare("projector.centre", true);
  neighbour_layer_ = declare("projector.neighbour", false);
  store.end_unit();
}

Batch RelativePositionObjective::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(rows, 2);
}

void RelativePositionObjective::fill(const Batch& batch, int64_t row, const ImageView& view,
                                     const RandomStream& stream) const {
  const std::vector<float> planes = batches_.planes(view);
  const int64_t channels = batches_.data().train.channels;
  const int64_t room = size_ - 2 * step_ - patch_ + 1;
  const int64_t left = drawn(stream, kOriginX, room);
  const int64_t top = drawn(stream, kOriginY, room);
  const int64_t place = drawn(stream, kPlace, kPlaces);
  const int64_t elements = channels * patch_ * patch_;
  float* to = batch.patches.data<float>() + row * 2 * elements;
  for (const int64_t cell : {int64_t{4}, place < 4 ? place : place + 1}) {  // of nine
    const std::vector<float> square =
        cut_square(planes, channels, size_, left + cell % 3 * step_, top + cell / 3 * step_, patch_);
    write_patches(square, channels, patch_, patch_, to);
    to += elements;
  }
  batch.targets.data<int32_t>()[row] = static_cast<int32_t>(place);
}

Batch RelativePositionObjective::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count, 2);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    fill(batch, row, {&batches_.data().train, batches_.training_image(sample), sample, 0, true},
         batches_.training_stream(sample));
  }
  return batch;
}

int64_t RelativePositionObjective::validation_batches(int64_t count, int64_t limit) const {
  return (batches_.validation_images(limit) + count - 1) / count;
}

Batch RelativePositionObjective::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  Batch batch = batches_.empty(count, 2);
  const int64_t end = std::min((index + 1) * count, batches_.validation_images(limit));
  for (int64_t image = index * count; image < end; ++image) {
    fill(batch, image - index * count, {&*batches_.data().validation, image}, batches_.validation_stream(image));
  }
  return batch;
}

Variable RelativePositionObjective::pair_features(Tape& tape, const Transformer& model, const Batch& batch,
                                                  ForwardOptions options) const {
  options.without_positions = true;
  const Variable hidden = model.hidden_of_images(tape, batch.patches, options);
  const Context& context = tape.context();
  const int64_t rows = batch.patches.shape()[0];
  const auto outputs_of = [&](int64_t token) {
    return select_rows(tape, hidden, places_of(context, rows, sequence(), token, 1));
  };
  const Variable centre = centre_layer_.forward(tape, outputs_of(1));
  return activate(tape, add(tape, centre, neighbour_layer_.forward(tape, outputs_of(2))), Activation::kRelu);
}

LossSum RelativePositionObjective::loss(Tape& tape, const Transformer& model, const Batch& batch,
                                        const ForwardOptions& options) const {
  return cross_entropy_loss(tape, pair_features(tape, model, batch, options), weight_, batch.targets, kPlaces, {}, {},
                            bias_);
}

EvaluationSum RelativePositionObjective::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Variable rows = pair_features(tape, model, batch, {});
  EvaluationSum sum;
  sum.loss = cross_entropy_loss(tape, rows, weight_, batch.targets, kPlaces, {}, {}, bias_);
  sum.correct = count_right(tape.context(), rows.value, weight_, bias_, batch.targets, kPlaces);
  return sum;
}

}  // namespace tsugi
