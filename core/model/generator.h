// Text continuation: one token at a time, with a key/value cache.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "core/model/transformer.h"

namespace tsugi {

/// How the next token is drawn.
struct Sampling {
  double temperature = 1.0;  ///< 0: the most likely token, the lowest id among equals
  int64_t top_k = 0;         ///< keep the k most likely; 0: all
  double top_p = 1.0;        ///< keep the smallest set with this probability (Holtzman et al. 2020)
  uint64_t seed = 0;         ///< token i of a continuation draws from (seed, i)
};

/// Draws from logits [vocabulary]; `index` selects the random number. Ties are broken by the lower id.
int32_t sample_token(const float* logits, int64_t vocabulary, const Sampling& sampling, uint64_t index);

/// Continues `prompt` (at least one token) by `count` tokens. When the context is full, the window starts again with
/// the last half of it. `on_token` (may be empty) sees every new token as it comes.
std::vector<int32_t> generate(const Context& context, const Transformer& model, const std::vector<int32_t>& prompt,
                              int64_t count, const Sampling& sampling,
                              const std::function<void(int32_t)>& on_token = {});

}  // namespace tsugi
