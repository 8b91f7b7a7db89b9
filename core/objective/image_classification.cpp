#include "core/objective/image_classification.h"

#include <algorithm>

namespace tsugi {
namespace {

constexpr int64_t kTurns = 4;
constexpr uint32_t kTurnView = 1;  // the stream behind that of the view itself

}  // namespace

ImageClassifier::ImageClassifier(ImageBatches batches, Task task) : batches_(std::move(batches)), task_(task) {
  if (task_ == Task::kRotation) {
    classes_ = {"0", "90", "180", "270"};
    return;
  }
  batches_.require_labels("image_classification", 1);
  classes_ = batches_.data().train.classes;
}

void ImageClassifier::declare_heads(ParameterStore& store, const ModelConfig& config) {
  head_ = ClassifierHead(store, config, static_cast<int64_t>(classes_.size()));
  store.end_unit();
}

Batch ImageClassifier::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;
  return batches_.shape(rows);
}

Batch ImageClassifier::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count);
  batch.first_sample = first_sample;
  const ImageSet& set = batches_.data().train;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    ImageView view{&set, batches_.training_image(sample), sample, 0, true, 0};
    if (task_ == Task::kRotation) {
      view.quarters = static_cast<int>(view_stream(batches_.seed(), sample, kTurnView).word(0) % kTurns);
    }
    batches_.fill(batch, row, view);
    batch.targets.data<int32_t>()[row] =
        task_ == Task::kRotation ? view.quarters : set.labels[static_cast<size_t>(view.image)];
  }
  return batch;
}

int64_t ImageClassifier::validation_samples(int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count() * (task_ == Task::kRotation ? kTurns : 1);
  return limit > 0 ? std::min(limit, all) : all;
}

int64_t ImageClassifier::validation_batches(int64_t count, int64_t limit) const {
  return (validation_samples(limit) + count - 1) / count;
}

Batch ImageClassifier::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  Batch batch = batches_.empty(count);
  const int64_t turns = task_ == Task::kRotation ? kTurns : 1;
  const int64_t end = std::min((index + 1) * count, validation_samples(limit));
  const ImageSet& set = *batches_.data().validation;
  for (int64_t sample = index * count; sample < end; ++sample) {
    const int64_t row = sample - index * count;
    const ImageView view{&set, sample / turns, 0, 0, false, static_cast<int>(sample % turns)};
    batches_.fill(batch, row, view);
    batch.targets.data<int32_t>()[row] =
        task_ == Task::kRotation ? view.quarters : set.labels[static_cast<size_t>(view.image)];
  }
  return batch;
}

Variable ImageClassifier::rows_of(Tape& tape, const Transformer& model, const Batch& batch,
                                  const ForwardOptions& options) const {
  return head_.features(tape, model.pooled(tape, model.hidden_of_images(tape, batch.patches, options)));
}

LossSum ImageClassifier::loss(Tape& tape, const Transformer& model, const Batch& batch,
                              const ForwardOptions& options) const {
  return head_.loss(tape, rows_of(tape, model, batch, options), batch.targets);
}

EvaluationSum ImageClassifier::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Variable rows = rows_of(tape, model, batch, {});
  EvaluationSum sum;
  sum.loss = head_.loss(tape, rows, batch.targets);
  sum.correct = head_.count_right(tape.context(), rows.value, batch.targets);
  return sum;
}

}  // namespace tsugi
