// The transformer: embedding, blocks, final norm. GPT-2 is its (so far only) preset.
#pragma once

#include <functional>
#include <vector>

#include "core/config/run.pb.h"
#include "core/nn/layers.h"

namespace tsugi {

/// Vocabulary rows are padded to a multiple of this, so that matrix tiles stay whole.
inline constexpr int64_t kVocabularyPadding = 64;

/// What one forward pass needs beside the tokens.
struct ForwardOptions {
  DropoutSource dropout;
  bool recompute = false;
  /// Called in the backward pass when the gradients of all parameters of units 0 … `unit` are final.
  std::function<void(int unit)> on_unit_complete;
  /// Inference only: one cache per block; the tokens follow those in it.
  std::vector<KeyValueCache>* caches = nullptr;
};

class Transformer {
 public:
  /// Declares the model's tensors in `store`, last layer first (the order in which backward completes them).
  /// `config.vocabulary` must be resolved (> 0).
  Transformer(const ModelConfig& config, ParameterStore& store);

  const ModelConfig& config() const { return config_; }

  /// tokens i32 [B, T] → the final norm's output [B, T, width].
  Variable hidden(Tape& tape, const Tensor& tokens, const ForwardOptions& options) const;

  /// [padded vocabulary, width]: the embedding, and the tied output projection.
  const Parameter& token_embedding() const { return token_embedding_; }
  const Parameter& position_embedding() const { return position_embedding_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  const LayerNorm& final_norm() const { return final_norm_; }

 private:
  ModelConfig config_;
  LayerNorm final_norm_;
  int final_norm_unit_ = 0;
  std::vector<Block> blocks_;
  std::vector<int> block_units_;
  Parameter token_embedding_;
  Parameter position_embedding_;
  int embedding_unit_ = 0;
};

}  // namespace tsugi
