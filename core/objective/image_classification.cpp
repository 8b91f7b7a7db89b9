#include "core/objective/image_classification.h"

#include <algorithm>

#include "core/data/images/permutations.h"

namespace tsugi {
namespace {

constexpr int64_t kTurns = 4;

}  // namespace

ImageClassifier::ImageClassifier(ImageBatches batches, Task task, const JigsawPuzzle& puzzle)
    : batches_(std::move(batches)), task_(task) {
  if (task_ == Task::kRotation) {
    classes_ = {"0", "90", "180", "270"};
    return;
  }
  if (task_ == Task::kJigsaw) {
    tiles_across_ = puzzle.tiles();
    orders_ = distant_permutations(tiles_across_ * tiles_across_, puzzle.permutations());
    for (const std::vector<uint8_t>& order : orders_) {
      std::string& digits = classes_.emplace_back();
      for (const uint8_t tile : order) digits += static_cast<char>('0' + tile);
    }
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

const char* ImageClassifier::name() const {
  if (task_ == Task::kLabels) return "image_classification";
  return task_ == Task::kRotation ? "rotation" : "jigsaw";
}

int64_t ImageClassifier::draw(const RandomStream& stream) const {
  return static_cast<int64_t>(uint64_t{stream.word(0)} * classes_.size() >> 32);
}

void ImageClassifier::fill(const Batch& batch, int64_t row, ImageView view, int64_t choice) const {
  auto target = static_cast<int32_t>(choice);
  if (task_ == Task::kLabels) target = view.set->labels[static_cast<size_t>(view.image)];
  if (task_ == Task::kRotation) view.quarters = target;
  if (task_ == Task::kJigsaw) {
    view.tiles_across = tiles_across_;
    view.tiles = orders_[static_cast<size_t>(choice)];
  }
  batches_.fill(batch, row, view);
  batch.targets.data<int32_t>()[row] = target;
}

Batch ImageClassifier::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = batches_.empty(count);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    const ImageView view{&batches_.data().train, batches_.training_image(sample), sample, 0, true};
    fill(batch, row, view, draw(batches_.training_stream(sample)));
  }
  return batch;
}

int64_t ImageClassifier::asked_per_image() const { return task_ == Task::kRotation ? kTurns : 1; }

int64_t ImageClassifier::validation_samples(int64_t limit) const {
  if (!batches_.data().validation) return 0;
  const int64_t all = batches_.data().validation->count() * asked_per_image();
  return limit > 0 ? std::min(limit, all) : all;
}

int64_t ImageClassifier::validation_batches(int64_t count, int64_t limit) const {
  return (validation_samples(limit) + count - 1) / count;
}

Batch ImageClassifier::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  Batch batch = batches_.empty(count);
  const int64_t end = std::min((index + 1) * count, validation_samples(limit));
  for (int64_t sample = index * count; sample < end; ++sample) {
    const ImageView view{&*batches_.data().validation, sample / asked_per_image()};
    const int64_t choice = task_ == Task::kRotation ? sample % kTurns : draw(batches_.validation_stream(view.image));
    fill(batch, sample - index * count, view, choice);
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
