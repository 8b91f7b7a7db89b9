// SimCLR (Chen et al., "A simple framework for contrastive learning of visual representations", 2020): two random views
// of each picture go through the model and a projector, and find each other by their cosines among the views of all
// other pictures of the global batch (nt_xent.h). The projector is not part of what is used downstream.
#pragma once

#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class SimClrObjective : public Objective {
 public:
  SimClrObjective(ImageBatches batches, const SimClr& config);

  const char* name() const override { return "simclr"; }
  int64_t sequence() const override { return batches_.tokens(); }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  /// How often the other view is the nearest of all.
  bool has_accuracy() const override { return true; }
  int64_t feature_width() const override { return config_.projection_width(); }
  int64_t rows_per_sample() const override { return 2; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// The first views of all pictures, then the second ones.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Views like those of training, always the same ones. Pictures that do not fill a batch are left out.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;

  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;
  FeatureLoss compare(const Context& context, Communicator& communicator, const Tensor& all) const override;
  /// Within the batch.
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 private:
  Batch two_views_of(const ImageSet& set, int64_t count, uint64_t first_sample, int64_t first_image) const;

  ImageBatches batches_;
  SimClr config_;
  Linear hidden_layer_;
  Linear output_layer_;
};

}  // namespace tsugi
