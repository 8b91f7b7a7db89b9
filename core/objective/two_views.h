// Objectives of two random views of each picture: both go through the model and a projector, and what comes out is
// compared. The projector is not part of what is used downstream. A view is a pure function of (seed, global sample
// index, which view).
#pragma once

#include <span>

#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class TwoViews : public Objective {
 public:
  TwoViews(ImageBatches batches, int64_t projection_width);

  int64_t sequence() const override { return batches_.tokens(); }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  /// How often a right view is the nearest of all.
  bool has_accuracy() const override { return true; }
  int64_t feature_width() const override { return projection_width_; }
  int64_t rows_per_sample() const override { return 2; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// The first views of all pictures, then the second ones; targets are the classes of pictures that have some.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Views like those of training, always the same ones. Pictures that do not fill a batch are left out.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;

  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;
  FeatureLoss compare(const Context& context, Communicator& communicator, const Tensor& all,
                      uint64_t first_sample) const override;
  /// Within the batch.
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 protected:
  const ImageBatches& batches() const { return batches_; }
  /// patches f32 [R, …] → unit rows f32 [R, projection_width].
  Variable project(Tape& tape, const Transformer& model, const Tensor& patches, const ForwardOptions& options) const;
  /// Losses of features as view_losses.h has them; `classes` of the images, empty in a dry run or without labels.
  virtual FeatureLoss compare_views(const Context& context, Communicator& communicator, const Tensor& features,
                                    std::span<const int32_t> classes) const = 0;

 private:
  Batch two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample, int64_t first_image) const;
  FeatureLoss compare_alone(const Context& context, const Tensor& features, const Batch& batch) const;

  ImageBatches batches_;
  int64_t projection_width_;
  Linear hidden_layer_;
  Linear output_layer_;
};

}  // namespace tsugi
