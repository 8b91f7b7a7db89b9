// Layers: small structs that hold parameters and have a forward().
#pragma once

#include <string>
#include <vector>

#include "core/autograd/attention.h"
#include "core/autograd/functions.h"
#include "core/config/run.pb.h"

namespace tsugi {

/// How a projection is stored. More than one name: what one product computes, files hold as several [out, in] tensors.
struct LinearOptions {
  std::vector<std::string> names;  ///< without ".weight", ".bias"
  int64_t in = 0;
  std::vector<int64_t> rows;  ///< outputs of each
  float deviation = 0.02f;
  /// Initial values of the first tensor's rows where they differ from the others'; 0: as the others.
  float first_deviation = 0.0f;
  bool bias = true;
  WeightLayout layout = WeightLayout::kInOut;  ///< GPT-2's Conv1D; all others are kOutIn
  const AdapterConfig* adapter = nullptr;
};

/// A low-rank update of some of a projection's outputs.
struct LowRankAdapter {
  Parameter down;  ///< A [rank, in]
  Parameter up;    ///< B [rows, rank]
  int64_t first = 0;
  float scale = 1.0f;
};

/// y = activation(x·weight + bias)
struct Linear {
  Parameter weight;
  Parameter bias;  ///< undefined: none
  WeightLayout layout = WeightLayout::kInOut;
  std::vector<LowRankAdapter> adapters;

  static Linear declare(ParameterStore& store, const LinearOptions& options);
  /// `only_for_linear`: as linear() has it.
  Variable forward(Tape& tape, const Variable& x, Activation activation = Activation::kNone,
                   bool only_for_linear = false) const;
};

/// b + up(GELU(down(b))) of a branch b (Houlsby et al. 2019, figure 2). `up` begins as zeros, so that training begins
/// with the model as it is.
struct Bottleneck {
  Linear down;
  Linear up;

  bool defined() const { return down.weight.defined(); }
  static Bottleneck declare(ParameterStore& store, const std::string& name, int64_t width, int64_t hidden,
                            float deviation);
  Variable forward(Tape& tape, const Variable& branch) const;
};

/// LayerNorm or RMSNorm.
struct Norm {
  Parameter gamma;
  Parameter beta;  ///< undefined: RMSNorm
  float epsilon = 1e-5f;

  bool defined() const { return gamma.defined(); }
  static Norm declare(ParameterStore& store, const std::string& name, const ModelConfig& model);
  /// Adds the stream's branch (after dropout) to its residual and normalises the sum.
  ResidualNorm forward(Tape& tape, const ResidualStream& stream, const Dropout& dropout) const {
    return beta.defined() ? residual_norm(tape, stream, dropout, gamma, beta, epsilon)
                          : residual_rms_norm(tape, stream, dropout, gamma, epsilon);
  }
};

/// The dropouts of one forward pass: one seed, one probability, a site per place in the model.
struct DropoutSource {
  float p = 0.0f;
  uint64_t seed = 0;
  uint64_t first_sample = 0;

  static constexpr uint32_t kSites = 0x44000000;  ///< sites of dropout begin here
  Dropout at(int64_t place) const { return {p, seed, first_sample, kSites + static_cast<uint32_t>(place)}; }
};

/// What all blocks of one forward pass share.
struct BlockContext {
  DropoutSource dropout;
  /// Rotary models: rotary_table() of at least first position + T positions.
  Tensor rotary_table;
  /// i32 [B, T]: the first token that each token sees; undefined: the sequence's first. For packed documents.
  Tensor first_key;
  /// i32 [B, T]: what lies behind the last token that each token sees; undefined: the sequence's end. For padding of
  /// encoders.
  Tensor end_key;
  /// Models with positions by distance: of the stack (core/autograd/attention.h).
  Variable relative_bias = {};
  /// Decoders: the output of the encoder [B, S, width], and what lies behind the last token of it that each token sees,
  /// i32 [B, T] (undefined: all are seen).
  Variable memory = {};
  Tensor memory_end = {};
  /// i32 [B, T]: positions of the tokens; undefined: those of the sequence, or behind the cache.
  Tensor positions = {};
};

/// Attention: one packed product for queries, keys and values.
struct Attention {
  Linear qkv;
  Linear projection;
  Parameter query_gamma;  ///< qk-norm; undefined: none
  Parameter key_gamma;
  int64_t heads = 0;
  int64_t key_heads = 0;
  int64_t window = 0;  ///< 0: none
  bool causal = true;
  float scale = 0.0f;  ///< of the scores; 0: 1/sqrt(head_dim)
  float epsilon = 1e-6f;

  Variable forward(Tape& tape, const Variable& x, const BlockContext& context, const Dropout& dropout,
                   KeyValueCache* cache) const;
};

/// A decoder's attention to the encoder's output: keys and values are one packed product.
struct CrossAttention {
  Linear query;
  Linear keys_values;
  Linear projection;
  int64_t heads = 0;
  float scale = 0.0f;

  bool defined() const { return query.weight.defined(); }
  /// `cache`: keeps keys and values of the memory for all later tokens.
  Variable forward(Tape& tape, const Variable& x, const BlockContext& context, const Dropout& dropout,
                   KeyValueCache* cache) const;
};

/// The feed-forward layer: activation(x·expand)·contract; gated: (f(x·gate)⊙(x·up))·contract, gate and up in one
/// product.
struct Mlp {
  Linear expand;
  Linear contract;
  ModelConfig::Activation activation = ModelConfig::GELU_TANH;

  Variable forward(Tape& tape, const Variable& x) const;
};

/// The layer's function where it is one element by element.
Activation elementwise(ModelConfig::Activation activation);

/// One transformer block. Pre-norm (Radford et al. 2019, section 2.3; Touvron et al. 2023, section 2.2): a norm before
/// attention and MLP, and the MLP's branch is left for whoever comes next to add. Post-norm (Vaswani et al. 2017,
/// section 3.1): a norm of each sum, and no branch is left. A decoder's (Vaswani et al. 2017, pre-norm) attends to the
/// encoder between the two.
struct Block {
  int64_t first_place = 1;  ///< of its dropouts
  bool post_norm = false;
  Norm attention_norm;
  Attention attention;
  Norm cross_norm;
  CrossAttention cross;  ///< not defined: none
  Norm mlp_norm;
  Mlp mlp;
  Bottleneck attention_adapter;  ///< not defined: none
  Bottleneck mlp_adapter;

  /// `name`: what precedes its tensors' names, "transformer.h.0" or "model.layers.0". Block `index` of its stack; a
  /// `decoder` attends to an encoder.
  static Block declare(ParameterStore& store, const std::string& name, int64_t index, const ModelConfig& model,
                       const AdapterConfig& adapter, bool decoder = false);
  /// `cache`: keys and values of earlier tokens, in inference.
  ResidualStream forward(Tape& tape, const ResidualStream& stream, const BlockContext& context,
                         KeyValueCache* cache = nullptr) const;

  /// Places of dropout in the model: 0 is the embedding, then three per block; of a decoder its embedding, then five
  /// per block. The last of a block's is that of its MLP's branch.
  int64_t place(int64_t which) const { return first_place + which; }
  int64_t last_place() const { return place(cross.defined() ? 4 : 2); }
};

}  // namespace tsugi
