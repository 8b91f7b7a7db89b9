// Text continuation: one token at a time, with a key/value cache, for several texts at once.
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

/// Draws from logits [vocabulary]; `index` selects the random numbers, of which each id has its own: logits that differ
/// by rounding (those of a text continued alone and among others, or on another CPU) give the same ids but once in
/// millions. Ties are broken by the lower id.
int32_t sample_token(const float* logits, int64_t vocabulary, const Sampling& sampling, uint64_t index);

/// A text to go on with.
struct GenerationRow {
  std::vector<int32_t> prompt;  ///< at least one token
  uint64_t seed = 0;            ///< in place of Sampling::seed
};

struct GenerationOptions {
  int64_t count = 0;  ///< most tokens of a continuation
  Sampling sampling;
  std::vector<int32_t> stop;  ///< a continuation ends before one of these tokens
  /// Sees every new token as it comes; may be empty.
  std::function<void(size_t row, int32_t token)> on_token;
};

struct Continuation {
  std::vector<int32_t> ids;
  bool stopped = false;  ///< by one of GenerationOptions::stop
  /// How often the context was full: the model then goes on from the last half of it.
  int64_t restarts = 0;
};

/// Continues all rows together, in their order. Shorter texts stand behind padding that nothing sees, and positions are
/// counted from where a text begins, so that a row computes what it computes alone: the products of a step, of one row
/// per text, and the tiles of attention may be summed in another order, so logits agree within rounding rather than bit
/// for bit. Random numbers are those of the row's own seed. Rows of one and the same prompt share the pass over it.
/// Caches hold min(context, longest prompt + count) tokens per row. Of encoder–decoders the encoder reads the prompts,
/// whatever their length, once, and the continuation begins behind decoder_start_token; texts of shorter prompts see
/// nothing of the padding.
std::vector<Continuation> generate_rows(const Context& context, const Transformer& model,
                                        const std::vector<GenerationRow>& rows, const GenerationOptions& options);

}  // namespace tsugi
