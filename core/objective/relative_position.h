// Where a patch lies (Doersch et al., "Unsupervised visual representation learning by context prediction", 2015): the
// model sees a patch and one of its eight neighbours, and says which one. No positions are added, for they would tell;
// between the patches is a gap, for lines that run on would tell, too. Where the nine patches lie in the picture is
// drawn.
#pragma once

#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class RelativePositionObjective : public Objective {
 public:
  /// `model` is resolved; nine patches with gaps fit into its pictures.
  RelativePositionObjective(ImageBatches batches, const RelativePosition& config, const ModelConfig& model);

  const char* name() const override { return "relative_position"; }
  bool recordable() const override { return false; }
  /// The class token and two patches.
  int64_t sequence() const override { return 3; }
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  bool has_accuracy() const override { return true; }
  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// Patches [rows, 2, …]: first the one in the middle. Targets [rows]: the other one's place, row by row.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Of every picture one pair, the same in every run.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 private:
  void fill(const Batch& batch, int64_t row, const ImageView& view, const RandomStream& stream) const;
  /// [rows, width]: what the projection to the eight places takes.
  Variable pair_features(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) const;

  ImageBatches batches_;
  int64_t size_;
  int64_t patch_;
  int64_t step_;  ///< pixels from a patch to its neighbour
  Linear centre_layer_;
  Linear neighbour_layer_;
  Parameter weight_;
  Parameter bias_;
};

}  // namespace tsugi
