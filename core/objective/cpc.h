// Contrastive predictive coding (van den Oord et al., "Representation learning with contrastive predictive coding",
// 2018, section 2): what was seen of a picture, row by row, says which patch comes later.
//
// z_t is the code of patch t: the model's embedding of it, which has seen no other patch, and a projector. c_t is the
// output of the causal ViT there, which has seen patches 1 … t. For k = 1 … steps, W_k·c_t looks for z_t+k of its
// own picture among the patches at that place of all pictures of the global batch:
//
//   loss = -log exp(z_t+k·W_k c_t) / Σ_j exp(z_j,t+k·W_k c_t)                        (equations 3 and 4)
//
// the mean over t and k. Neither the codes' projector nor the W_k are part of what is used downstream.
#pragma once

#include "core/objective/block_losses.h"
#include "core/objective/feature_objective.h"

namespace tsugi {

class CpcObjective : public FeatureObjective {
 public:
  /// `model` is a resolved, causal VIT with more than config.steps patches.
  CpcObjective(ImageBatches batches, const ContrastivePrediction& config);

  const char* name() const override { return "cpc"; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  int64_t feature_width() const override { return config_.projection_width(); }
  int64_t feature_rows() const override { return blocks_; }

  /// Codes of the patches, patch by patch; then, for each k, what is predicted from patch 1, patch 2 …
  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override;

 private:
  ContrastivePrediction config_;
  int64_t patches_;
  int64_t blocks_;
  std::vector<BlockPair> pairs_;  ///< predictions and the codes that they look for
  Projector code_;
  std::vector<Linear> predictions_;
};

}  // namespace tsugi
