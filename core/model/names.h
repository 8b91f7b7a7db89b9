// What Hugging Face calls the parts of a family's models.
#pragma once

#include <string>
#include <vector>

#include "core/config/run.pb.h"

namespace tsugi {

struct TensorNames {
  std::string body;  ///< what the names of all but the heads begin with: "transformer."
  std::string token_table;
  std::string position_table;
  std::string segment_table;
  std::string embedding_norm;
  std::string class_token, patches;  ///< of pictures: the token (whole name), and the projection of patches
  std::string blocks;                ///< block i is blocks + "i"
  std::string final_norm;
  std::string decoder_blocks, decoder_norm;  ///< of encoder–decoders, whose blocks and final_norm are the encoder's
  std::string output = "lm_head";            ///< untied projection to the vocabulary
  /// Of a transformed head: dense layer, norm, and the vocabulary's bias (whole name).
  std::string transform, transform_norm, output_bias;
  std::string pooler;
  /// Behind it: whether a second piece of text follows the first.
  std::string next_sentence = "cls.seq_relationship";
  std::string discriminator_dense, discriminator;
  /// A classifier: its projection, and the dense layer before it (empty: none, or the pooler).
  std::string classifier = "score", classifier_dense;

  std::string block(int64_t index) const { return blocks + std::to_string(index); }
  std::string decoder_block(int64_t index) const { return decoder_blocks + std::to_string(index); }
};
TensorNames tensor_names(const ModelConfig& model);

/// The tensors of block `block` ("transformer.h.0").
struct BlockNames {
  std::string attention_norm, mlp_norm, projection, contract;
  std::vector<std::string> qkv, expand;  ///< one, or as many as files keep apart
  /// Of a decoder that attends to an encoder.
  std::string cross_norm = {}, cross_query = {}, cross_projection = {};
  std::vector<std::string> cross_keys_values = {};
  /// Whole name of the table of distances, in block 0 of a stack.
  std::string relative_table = {};
};
BlockNames block_names(const std::string& block, const ModelConfig& model);

}  // namespace tsugi
