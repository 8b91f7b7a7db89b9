// Layers: small structs that hold parameters and have a forward().
#pragma once

#include <string>

#include "core/autograd/functions.h"

namespace tsugi {

/// y = activation(x·weight + bias), weight [in, out] as GPT-2's Conv1D stores it.
struct Linear {
  Parameter weight;
  Parameter bias;

  static Linear declare(ParameterStore& store, const std::string& name, int64_t in, int64_t out, float deviation);
  Variable forward(Tape& tape, const Variable& x, Activation activation = Activation::kNone) const {
    return linear(tape, x, weight, bias, activation);
  }
};

struct LayerNorm {
  Parameter gamma;
  Parameter beta;
  float epsilon = 1e-5f;

  static LayerNorm declare(ParameterStore& store, const std::string& name, int64_t width);
  /// Adds the stream's branch (after dropout) to its residual and normalises the sum.
  ResidualNorm forward(Tape& tape, const ResidualStream& stream, const Dropout& dropout) const {
    return residual_norm(tape, stream, dropout, gamma, beta, epsilon);
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

/// One pre-norm transformer block (Radford et al. 2019, section 2.3).
struct Block {
  int64_t index = 0;
  int64_t heads = 0;
  LayerNorm attention_norm;
  Linear qkv;
  Linear attention_projection;
  LayerNorm mlp_norm;
  Linear expand;
  Linear contract;

  /// `residual_deviation`: standard deviation of the two projections that write to the residual stream.
  static Block declare(ParameterStore& store, const std::string& name, int64_t index, int64_t width, int64_t heads,
                       float deviation, float residual_deviation);
  /// `cache`: keys and values of earlier tokens, in inference.
  ResidualStream forward(Tape& tape, const ResidualStream& stream, const DropoutSource& dropout,
                         KeyValueCache* cache = nullptr) const;

  /// Places of dropout in the model: 0 is the embedding, then three per block.
  int64_t place(int64_t which) const { return 1 + 3 * index + which; }
};

}  // namespace tsugi
