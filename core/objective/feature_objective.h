// What objectives share that compare the features of pictures with those of all others of the step: the losses are said
// once, for a global batch (core/objective/leaf_comparison.h), and hold for a batch alone, too.
#pragma once

#include <span>

#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

/// Two layers, ReLU between them, to what is compared: not part of what is used downstream.
struct Projector {
  Linear hidden;
  Linear output;

  /// `name`.hidden [hidden units, in] and `name`.out [out, hidden units], in the current unit. `deviation` of the
  /// weights' initial values; 0: the root of 1 over their inputs, where products are scores as they are, which would be
  /// next to nothing otherwise, and so would be their slopes.
  static Projector declare(ParameterStore& store, const std::string& name, int64_t in, int64_t units, int64_t out,
                           float deviation);
  Variable forward(Tape& tape, const Variable& x) const {
    return output.forward(tape, hidden.forward(tape, x, Activation::kRelu));
  }
};

class FeatureObjective : public Objective {
 public:
  explicit FeatureObjective(ImageBatches batches) : batches_(std::move(batches)) {}

  bool recordable() const override { return false; }
  int64_t sequence() const override { return batches_.tokens(); }
  bool uses_output_head() const override { return false; }
  /// How often what is nearest is right.
  bool has_accuracy() const override { return true; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// One view of every picture; those to validate on as they are.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  /// Pictures that do not fill a batch are left out.
  int64_t validation_batches(int64_t count, int64_t limit) const override;

  FeatureLoss compare(const Context& context, Communicator& communicator, const Tensor& all,
                      uint64_t first_sample) const override;
  /// Within the batch.
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 protected:
  const ImageBatches& batches() const { return batches_; }
  /// As Objective::compare(); `numbers`: of the samples of all micro-batches what numbers() gives; empty in a dry run.
  virtual FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                                       std::span<const int32_t> numbers) const = 0;
  /// What objectives know of a training picture beside its pixels (its class, its caption), as batches have it in the
  /// first of their targets, one for each sample; kIgnoreIndex: nothing.
  virtual int32_t number_of(int64_t image) const;
  /// compare_features() of a batch alone.
  FeatureLoss compare_alone(const Context& context, const Tensor& features, const Batch& batch) const;

 private:
  ImageBatches batches_;
};

/// The samples of a step, each a group by itself.
std::vector<int32_t> each_by_itself(const Context& context, const Tensor& features, int64_t rows_per_sample);

/// Places [first, first + places) of all rows of a batch [rows, length], place by place: i32 [places·rows].
Tensor places_of(const Context& context, int64_t rows, int64_t length, int64_t first, int64_t places);

}  // namespace tsugi
