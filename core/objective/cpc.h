// Contrastive predictive coding (van den Oord et al., "Representation learning with contrastive predictive coding",
// 2018, section 2): what was seen of a picture, row by row, says which patch comes later.
//
// z_t is the code of patch t: the model's embedding of it, which has seen no other patch, and a linear layer. c_t is
// the output of the causal ViT there, which has seen patches 1 … t. For k = 1 … steps, W_k·c_t looks for z_t+k of its
// own picture among the patches at that place of all pictures of the global batch:
//
//   loss = -log exp(z_t+k·W_k c_t) / Σ_j exp(z_j,t+k·W_k c_t)                        (equations 3 and 4)
//
// the mean over t and k. Neither the codes' layer nor the W_k are part of what is used downstream.
#pragma once

#include "core/objective/block_losses.h"
#include "core/objective/image_batches.h"

namespace tsugi {

class CpcObjective : public Objective {
 public:
  /// `model` is a resolved, causal VIT with more than config.steps patches.
  CpcObjective(ImageBatches batches, const ContrastivePrediction& config);

  const char* name() const override { return "cpc"; }
  int64_t sequence() const override { return batches_.tokens(); }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  /// How often the right patch is the one that fits best.
  bool has_accuracy() const override { return true; }
  int64_t feature_width() const override { return config_.projection_width(); }
  int64_t feature_rows() const override { return blocks_; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Pictures that do not fill a batch are left out.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;

  /// Codes of the patches, patch by patch; then, for each k, what is predicted from patch 1, patch 2 …
  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;
  FeatureLoss compare(const Context& context, Communicator& communicator, const Tensor& all,
                      uint64_t first_sample) const override;
  /// Within the batch.
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 private:
  FeatureLoss compare_alone(const Context& context, const Tensor& features) const;

  ImageBatches batches_;
  ContrastivePrediction config_;
  int64_t patches_;
  int64_t blocks_;
  std::vector<BlockPair> pairs_;  ///< predictions and the codes that they look for
  Linear code_;
  std::vector<Linear> predictions_;
};

}  // namespace tsugi
