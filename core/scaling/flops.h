// Parameters and FLOPs of training, in the conventions that people quote.
#pragma once

#include <cstdint>

#include "core/config/run.pb.h"

namespace tsugi {

/// Parameters of the model: all, and those that take part in matrix products per token: everything but the tables of
/// positions, distances and segments, the pooler and, with an untied head, the token table (a tied one counts once, for
/// the output projection).
struct ParameterCount {
  int64_t total = 0;
  int64_t in_products = 0;
  int64_t in_head = 0;  ///< of these, in the projection to the vocabulary and what is before it
  int64_t in_decoder =
      0;  ///< of these, in the decoder of an encoder–decoder but for what keys and values of the input take
};
ParameterCount count_parameters(const ModelConfig& model);

/// FLOPs of forward and backward for one token in a sequence of T = `sequence` tokens; N parameters in products, L
/// layers of H query heads of width Q. Only `scored_share` of the tokens take part in the products of the head. Fewer
/// key heads save memory, no FLOPs. In a layer with a sliding window w < T the keys of a query are w instead of T, and
/// w - w²/(2T) on average instead of T/2. In a bidirectional model all keys are seen, and the conventions agree.
/// With a head for pairs of texts, the pooler and it once in T tokens.
/// Encoder–decoders: for one token of the input, with `scored_share` tokens of a target to each, which go through the
/// decoder and the head, see those before them and all of the input.
struct FlopsPerToken {
  /// 6·N + 12·L·H·Q·T: attention over the full square (Chowdhery et al., "PaLM" (2022), appendix B).
  double palm = 0.0;
  /// 6·N + 6·L·H·Q·T: the causal half (Megatron-LM's convention since 2024).
  double causal = 0.0;
};
FlopsPerToken flops_per_token(const ModelConfig& model, int64_t sequence, double scored_share = 1.0);

/// The rule of thumb of scaling laws, C = 6 N D: two FLOPs per parameter and token forward, four backward (Kaplan et
/// al. 2020, section 2.1). N parameters, D tokens, C FLOPs.
inline double training_flops(double parameters, double tokens) { return 6.0 * parameters * tokens; }
inline double tokens_for_flops(double flops, double parameters) { return flops / (6.0 * parameters); }
inline double parameters_for_flops(double flops, double tokens) { return flops / (6.0 * tokens); }

}  // namespace tsugi
