// Momentum contrast (He et al., "Momentum contrast for unsupervised visual representation learning", 2020): the first
// view of a picture finds the second one among a queue of the second views of earlier pictures.
//
// The second views go through a second encoder, whose weights are a moving average of those that are trained (equation
// 2): another buffer of the same layout, with which the same model computes for a moment. No gradient passes there, and
// nothing is dropped.
//
// The queue holds the keys of the last global batches, first in, first out, on every rank alike: a step's losses are
// those against the queue as it was, then the keys of all ranks replace the oldest. So a micro-batch's loss depends on
// its own pictures and on what the last step left, and nothing is exchanged in between. Queue and second encoder are
// part of checkpoints ("objective.key_encoder.NAME", "objective.queue"); a
// queue that is not full holds random directions. Which part is
// the oldest follows from the step's number.
#pragma once

#include "core/objective/two_views.h"
#include "ops/info_nce/info_nce.h"

namespace tsugi {

class MoCoObjective : public TwoViews {
 public:
  /// `config` is validated: the queue holds a multiple of the global batch.
  MoCoObjective(ImageBatches batches, const MomentumContrast& config, const BatchConfig& batch);

  const char* name() const override { return "moco"; }
  int64_t feature_width() const override { return 0; }

  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  /// Against the queue as it is.
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;

  void take_memory(const Context& context, ParameterStore& store) override;
  void start() override;
  void end_step(const Context& context, Communicator& communicator, int64_t update) override;
  SavedState state() const override;
  int64_t state_bytes() const override;

  /// f32 [queue, projection_width], unit rows.
  const Tensor& queue() const { return queue_; }
  /// f32, laid out as ParameterStore::working().
  const Tensor& key_weights() const { return key_weights_; }

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override;

 private:
  /// Unit rows of the second encoder, without gradient.
  Tensor keys_of(const Context& context, const Transformer& model, const Tensor& patches,
                 const ForwardOptions& options) const;

  MomentumContrast config_;
  int64_t micro_batch_;
  int64_t micro_batches_;
  ParameterStore* store_ = nullptr;
  const Context* context_ = nullptr;  ///< of what lives long
  Tensor key_weights_;
  Tensor queue_;
  Tensor fresh_;  ///< f32 [micro_batches, micro_batch, width]: keys of the step that is under way
};

/// One micro-batch against the queue: queries and keys f32 [B, D], the i-th ones of one picture; queue f32 [K, D].
/// `d_queries` f32 [B, D], where defined, receives the gradient of the sum.
InfoNceSum queue_contrast(const Context& context, const Tensor& queries, const Tensor& keys, const Tensor& queue,
                          float temperature, const Tensor& d_queries);

}  // namespace tsugi
