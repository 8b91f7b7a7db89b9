// The transformer: embedding, blocks, final norm, projection to the vocabulary. Families are its presets
// (core/config/families.h).
#pragma once

#include <functional>
#include <vector>

#include "core/config/run.pb.h"
#include "core/model/names.h"
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
  /// i32 [B, T]: the first token that each token sees (packed documents); undefined: the sequence's first.
  Tensor first_key;
  /// i32 [B, T], encoders: what lies behind the last token that each token sees (padding); undefined: the end.
  Tensor end_key;
  /// i32 [B, T], models with segments: the segment of each token; undefined: all in segment 0.
  Tensor segments;
  /// Inference only: one cache per block; the tokens follow those in it.
  std::vector<KeyValueCache>* caches = nullptr;
  /// i32 [B, T]: the position of each token; undefined: sequences begin at 0, or behind what the caches hold. Not with
  /// an embedding norm.
  Tensor positions;
  /// Pictures: i32 [B·S], the tokens that the blocks see, S of each picture, as rows b·(1 + N) + t; undefined: all.
  Tensor seen;
  /// Pictures: no positions are added, so that patches are told apart by what they show alone, and there may be any
  /// number of them.
  bool without_positions = false;
  /// Rotary models: rotary_positions() made once for many passes; undefined: each pass makes its own.
  Tensor rotary_table;
  /// i32 [B, T], decoders: what lies behind the last of the encoder's tokens that each token sees (padding); undefined:
  /// the end.
  Tensor memory_end;
};

class Transformer {
 public:
  /// Declares the model's tensors in `store`, last layer first (the order in which backward completes them).
  /// `config` must be one that can be built (core/config/families.h), its vocabulary > 0. Without `output_head` an
  /// untied output projection is not declared: for objectives that have a head of their own.
  Transformer(ModelConfig config, ParameterStore& store, bool output_head = true, const AdapterConfig& adapter = {});

  /// Resolved.
  const ModelConfig& config() const { return config_; }

  /// tokens i32 [B, T] → the output of the final norm, or of the last post-norm block: [B, T, width].
  Variable hidden(Tape& tape, const Tensor& tokens, const ForwardOptions& options) const;

  /// Pictures: patches f32 [B, N, channels·patch²] (core/data/images/augment.h) → [B, 1 + N, width], the class token
  /// first; [B, S, width] of those that options.seen names.
  Variable hidden_of_images(Tape& tape, const Tensor& patches, const ForwardOptions& options) const;
  /// What patches are before any of them sees another: the embedding that hidden_of_images() begins with, without
  /// positions: [B, N, width]. Is to be called behind it, so that the embedding's gradient is complete when it says so.
  Variable patch_features(Tape& tape, const Tensor& patches) const;
  /// What stands for each picture, as model.pooling says: hidden_of_images() → [B, width].
  Variable pooled(Tape& tape, const Variable& hidden) const;

  /// Encoder–decoders: hidden() is the encoder, whose output is the memory, [B, S, width]; of it and the decoder's
  /// tokens, i32 [B, T], comes the output of the decoder's final norm, [B, T, width]. With caches (of the decoder's
  /// blocks) the memory may be undefined from the second step on.
  Variable decoded(Tape& tape, const Tensor& tokens, const Variable& memory, const ForwardOptions& options) const;

  /// What the projection to the vocabulary takes: rows of hidden() or decoded() after the transformation of the head,
  /// or over sqrt(width), if the model does so (Raffel et al. 2020, their code; Devlin et al. 2019, their code:
  /// "cls/predictions/transform"); of as many rows, in one shape or another.
  Variable head_input(Tape& tape, const Variable& rows) const;

  /// The discriminator's score of each row of hidden() [B, T, width] → [B, T, 1]: whether that token was replaced
  /// (above 0).
  Variable discriminated(Tape& tape, const Variable& rows) const;

  /// What the blocks read, with dropout: tokens i32 [B, T] → [B, T, width]. A second use of the embedding beside
  /// hidden() must come first in the backward pass, before hidden() says that its gradient is complete.
  Variable embedded(Tape& tape, const Tensor& tokens, const ForwardOptions& options, int64_t first_position = 0) const;

  /// What stands for whole texts: rows of hidden() of their first tokens [R, width] through BERT's pooler, a dense
  /// layer and tanh. Needs model.pooler.
  Variable pooler_output(Tape& tape, const Variable& rows) const;

  /// The scores of the vocabulary, soft-capped if the model does: rows of hidden() [R, width] → f32 [R, padded
  /// vocabulary], of which the columns beyond the vocabulary mean nothing. For inference; training never holds them
  /// all.
  Tensor logits(const Context& context, const Tensor& hidden) const;

  /// Empty caches for `batch` sequences of at most `capacity` tokens, of the decoder where there is one.
  std::vector<KeyValueCache> make_caches(const Context& context, int64_t batch, int64_t capacity) const;

  /// Cosines and sines of positions 0 … positions - 1; undefined for models with learned positions.
  Tensor rotary_positions(const Context& context, int64_t positions) const;

  /// [padded vocabulary, width]: the embedding.
  const Parameter& token_embedding() const { return token_embedding_; }
  /// [padded vocabulary, width]: the projection to the vocabulary, which a tied model shares with the embedding.
  const Parameter& output_weight() const { return config_.tied() ? token_embedding_ : output_; }
  /// [padded vocabulary]; undefined: none.
  const Parameter& output_bias() const { return output_bias_; }
  /// [padded 2, width] and [padded 2], behind pooler_output(): scores of 0, the second piece of text follows the first,
  /// and 1, it is from elsewhere (transformers' BertForPreTraining). Undefined without model.next_sentence_head.
  const Parameter& next_sentence_weight() const { return next_sentence_weight_; }
  const Parameter& next_sentence_bias() const { return next_sentence_bias_; }
  /// Undefined in rotary models.
  const Parameter& position_embedding() const { return position_embedding_; }
  const std::vector<Block>& blocks() const { return stack_.blocks; }
  const Norm& final_norm() const { return stack_.norm; }

 private:
  void declare_head(ParameterStore& store);
  void declare_image_embeddings(ParameterStore& store, const TensorNames& names, const Initialization& normal);
  /// Declares the decoder's blocks and norm, or the encoder's (or only ones).
  void declare_stack(ParameterStore& store, const TensorNames& names, bool decoder, const AdapterConfig& adapter);

  /// Blocks one upon another, and the norm after the last one.
  struct Stack {
    std::vector<Block> blocks;
    std::vector<int> units;
    Norm norm;
    int norm_unit = -1;        ///< none: post-norm blocks
    Parameter relative_table;  ///< of distances; undefined: none
    bool decoder = false;
  };
  Variable run_stack(Tape& tape, const Stack& stack, ResidualStream stream, BlockContext shared,
                     const ForwardOptions& options) const;

  ModelConfig config_;
  Parameter output_;
  Linear transform_;  ///< undefined weight: none
  Norm transform_norm_;
  Parameter output_bias_;
  Linear pooler_;
  Linear discriminator_dense_;  ///< undefined weight: none
  Linear discriminator_;

  Parameter next_sentence_weight_;
  Parameter next_sentence_bias_;
  int output_unit_ = -1;  ///< of all these; none: tied and plain, or not declared
  Stack stack_;           ///< the encoder's where there are two
  Stack decoder_;         ///< no blocks: none
  Parameter token_embedding_;
  Parameter position_embedding_;
  Parameter segment_embedding_;
  Norm embedding_norm_;
  Linear patch_embedding_;  ///< of pictures, in place of tokens
  Parameter class_token_;
  int embedding_unit_ = 0;
};

}  // namespace tsugi
