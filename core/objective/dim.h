// Deep InfoMax (Hjelm et al., "Learning deep representations by mutual information estimation and maximization", 2019):
// what stands for a picture is to have as much information as possible in common with the picture (global) and with
// each of its patches (local).
//
//   loss = -(global_weight·I(picture; h) + local_weight·mean over patches of I(patch; h))    (equation 8, without the
//   prior)
//
// A patch is coded as it is before it has seen another: after one layer of attention every token knows of all, and to
// tell patches apart would ask nothing of h. The picture's own code is made of those of its patches, side by side. Each
// side has two layers to what is compared (their "encode-and-dot-product"), of products over the root of their number.
#pragma once

#include "core/objective/feature_objective.h"
#include "core/objective/part_losses.h"

namespace tsugi {

class DimObjective : public FeatureObjective {
 public:
  DimObjective(ImageBatches batches, const DeepInfoMax& config);

  const char* name() const override { return "dim"; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  int64_t feature_width() const override { return config_.projection_width(); }
  /// Patches; the whole that they are parts of; the picture's code; the whole that it is the part of.
  int64_t feature_rows() const override { return patches_ + 3; }
  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override;

 private:
  DeepInfoMax config_;
  int64_t patches_;
  Projector patch_;
  Projector picture_;
  Projector local_whole_;
  Projector global_whole_;
};

}  // namespace tsugi
