// Pictures and words (CLIP: Radford et al., "Learning transferable visual models from natural language supervision",
// 2021, section 2.3 and figure 3): a ViT sees the pictures, a causal transformer reads their captions, byte by byte,
// and pictures and captions find each other among those of the global batch by the cosines of what comes out.
//
// Loss: the mean of two cross-entropies, pictures that look for their captions and captions for their pictures, with a
// learnt scale (ops/logit_scale/logit_scale.h). Equal captions would be each other's negatives by mistake: a picture
// leaves out captions that are equal to its own, and a caption the pictures of such captions.
#pragma once

#include "core/objective/feature_objective.h"
#include "core/objective/leaf_comparison.h"

namespace tsugi {

/// `features` f32 [M, 2·B, D], gathered: those of B pictures, then those of their captions in the same order; products
/// are logits. `captions`: of the M·B pictures, equal numbers for equal captions, ≥ 0; empty in a dry run. Collective.
FeatureLoss clip_loss(const Context& context, Communicator& communicator, const Tensor& features,
                      std::span<const int32_t> captions);

/// Captions are bytes, and this behind the last one.
inline constexpr int32_t kEndOfCaption = 256;

/// The model that reads the captions, resolved.
ModelConfig caption_model(const Clip& config, float dropout);

class ClipObjective : public FeatureObjective {
 public:
  /// `model` is a resolved VIT. Throws Error(kData) for pictures without captions, captions that are too long, and
  /// pictures that all have the same one.
  ClipObjective(ImageBatches batches, const Clip& config, const ModelConfig& model);

  const char* name() const override { return "clip"; }
  /// The projections of both, the scale and the captions' transformer.
  void declare_heads(ParameterStore& store, const ModelConfig& config) override;
  int64_t feature_width() const override { return config_.projection_width(); }
  /// A picture and its caption.
  int64_t feature_rows() const override { return 2; }

  Batch batch_shape(int64_t rows, Documents documents) const override;
  /// Pictures, their captions as tokens, the places of their ends as positions, and which caption it is as targets.
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;

  Variable features(Tape& tape, const Transformer& model, const Batch& batch,
                    const ForwardOptions& options) const override;
  /// Right is what has the right caption, both ways.
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;

 protected:
  FeatureLoss compare_features(const Context& context, Communicator& communicator, const Tensor& features,
                               std::span<const int32_t> numbers) const override {
    return clip_loss(context, communicator, features, numbers);
  }
  int32_t number_of(int64_t image) const override { return train_captions_[static_cast<size_t>(image)]; }

 private:
  /// Which caption each picture of a set has.
  std::vector<int32_t> number_captions(const ImageSet& set);
  void fill_pair(const Batch& batch, int64_t row, const ImageView& view, int32_t caption) const;

  Clip config_;
  ModelConfig text_config_;
  std::map<std::string, int32_t> numbers_;  ///< of the captions
  std::vector<int32_t> train_captions_;
  std::vector<int32_t> validation_captions_;
  Linear image_projection_;
  Linear text_projection_;
  Parameter scale_offset_;
  std::optional<Transformer> text_;
};

}  // namespace tsugi
