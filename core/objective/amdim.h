// AMDIM (Bachman et al., "Learning representations by maximizing mutual information across views", 2019, sections 3.2
// to 3.4): what stands for one view of a picture, and one of its patches, which is drawn, find the patches of the other
// view among those of all other pictures of the global batch; both views take both parts.
//
// Patches are coded as they are before they have seen others, so that a ViT has one scale of places where their
// convolutional network has two: of their pairs (1→5, 1→7, 5→5) these are 1→7 and 7→7. Scores are products over the
// root of their number, with a penalty of their squares, and clipped.
#pragma once

#include "core/objective/part_losses.h"
#include "core/objective/two_views.h"

namespace tsugi {

class AmdimObjective : public TwoViews {
 public:
  AmdimObjective(ImageBatches batches, const AugmentedInfoMax& config);

  const char* name() const override { return "amdim"; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  /// Of each view: patches, what stands for it, and the patch that was drawn.
  int64_t feature_rows() const override { return 2 * view_rows(); }
  /// As of TwoViews; positions [2·rows] are the drawn patches, as rows of all.
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override;

 private:
  int64_t view_rows() const { return patches_ + 2; }
  Batch with_drawn(Batch batch) const;

  AugmentedInfoMax config_;
  int64_t patches_;
  Projector patch_;
  Projector whole_;
};

}  // namespace tsugi
