// Objectives of two random views of each picture: both go through the model and a projector, and what comes out is
// compared. The projector is not part of what is used downstream. A view is a pure function of (seed, global sample
// index, which view).
#pragma once

#include "core/objective/feature_objective.h"

namespace tsugi {

class TwoViews : public FeatureObjective {
 public:
  TwoViews(ImageBatches batches, int64_t projection_width);

  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  int64_t feature_width() const override { return projection_width_; }
  int64_t rows_per_sample() const override { return 2; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// The first views of all pictures, then the second ones; targets are the classes of pictures that have some.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Views like those of training, always the same ones.
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;

  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;

 protected:
  /// patches f32 [R, …] → unit rows f32 [R, projection_width].
  Variable project(Tape& tape, const Transformer& model, const Tensor& patches, const ForwardOptions& options) const;
  /// Its class, if it has one.
  int32_t number_of(int64_t image) const override;

 private:
  Batch two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample, int64_t first_image) const;

  int64_t projection_width_;
  Projector projector_;
};

}  // namespace tsugi
