// Classes of pictures: those they are labelled with; or, for which nobody has to label anything, by how many quarters
// they were turned (Gidaris et al., "Unsupervised representation learning by predicting image rotations", 2018), or in
// which order their tiles were put (Noroozi and Favaro, "Unsupervised learning of visual representations by solving
// jigsaw puzzles", 2016). Positions tell where a tile was put, not where it comes from: they stay.
#pragma once

#include "core/model/classifier_head.h"
#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class ImageClassifier : public Objective {
 public:
  enum class Task { kLabels, kRotation, kJigsaw };
  /// Throws Error(kData) when labels are wanted and missing, or more in validation than in training. `puzzle`: for
  /// kJigsaw.
  ImageClassifier(ImageBatches batches, Task task, const JigsawPuzzle& puzzle = {});

  const char* name() const override;
  bool recordable() const override { return false; }
  int64_t sequence() const override { return batches_.tokens(); }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  bool has_accuracy() const override { return true; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Rotation: of every picture all four turns. Jigsaw: of every picture one order, the same in every run.
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
  int64_t asked_per_image() const;
  /// Row `row` becomes the view of this class of the task's own, or of its label.
  void fill(const Batch& batch, int64_t row, ImageView view, int64_t choice) const;
  /// One of the task's own classes.
  int64_t draw(const RandomStream& stream) const;

  ImageBatches batches_;
  Task task_;
  std::vector<std::string> classes_;
  int64_t tiles_across_ = 1;
  std::vector<std::vector<uint8_t>> orders_;  ///< of tiles, by class
  ClassifierHead head_;
};

}  // namespace tsugi
