// Masked autoencoding (He et al., "Masked autoencoders are scalable vision learners", 2021): most patches of a picture
// are hidden, the model sees the others alone, which makes a step cheap, and a small decoder restores the pixels of the
// hidden ones from its outputs and the places. Which patches are hidden is a function of (seed, sample).
#pragma once

#include "core/objective/image_batches.h"
#include "core/objective/objective.h"

namespace tsugi {

class MaskedAutoencoderObjective : public Objective {
 public:
  /// `model` is resolved.
  MaskedAutoencoderObjective(ImageBatches batches, const MaskedAutoencoder& config, const ModelConfig& model);

  /// Of `patches`, how many are hidden: their share, rounded.
  static int64_t hidden_patches(const MaskedAutoencoder& config, int64_t patches);

  bool recordable() const override { return false; }
  const char* name() const override { return "masked_autoencoder"; }
  /// What the model sees: the class token and some patches.
  int64_t sequence() const override { return 1 + patches_ - hidden_; }
  /// The decoder. A visible patch comes into it through a projection, to which a row of the table of kinds is added in
  /// place of a bias; a hidden one is the other row, the mask token.
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  bool uses_output_head() const override { return false; }
  /// Positions [rows · (1 + visible patches)]: the tokens that the model sees, ascending.
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  /// Of every picture the same patches are hidden in every run.
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  /// Of every hidden patch the mean squared error of its pixels (ops/squared_error/squared_error.h).
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  std::map<std::string, std::string> fingerprint() const override { return batches_.fingerprint(); }

 private:
  void fill(const Batch& batch, int64_t row, const ImageView& view, const RandomStream& stream) const;

  ImageBatches batches_;
  MaskedAutoencoder config_;
  int64_t patches_;
  int64_t hidden_;
  ModelConfig decoder_;  ///< the model's, with other layers and another width
  Linear pixels_;
  Norm norm_;
  std::vector<Block> blocks_;
  Parameter positions_;
  Parameter kinds_;  ///< [2, width]: what is added to visible patches, and the mask token
  Linear entrance_;
};

}  // namespace tsugi
