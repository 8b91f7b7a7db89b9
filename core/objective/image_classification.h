// Classes of pictures: those they are labelled with, or by how many quarters they were turned (Gidaris et al.,
// "Unsupervised representation learning by predicting image rotations", 2018), for which nobody has to label anything.
#pragma once

#include "core/model/classifier_head.h"
#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class ImageClassifier : public Objective {
 public:
  enum class Task { kLabels, kRotation };
  /// Throws Error(kData) when labels are wanted and missing, or more in validation than in training.
  ImageClassifier(ImageBatches batches, Task task);

  const char* name() const override { return task_ == Task::kLabels ? "image_classification" : "rotation"; }
  int64_t sequence() const override { return batches_.tokens(); }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  bool has_accuracy() const override { return true; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Rotation: of every picture all four turns.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }
  /// Names of the classes.
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  Variable rows_of(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const;
  int64_t validation_samples(int64_t limit) const;

  ImageBatches batches_;
  Task task_;
  std::vector<std::string> classes_;
  ClassifierHead head_;
};

}  // namespace tsugi
