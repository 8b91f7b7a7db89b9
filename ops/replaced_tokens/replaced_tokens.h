// What is done with tokens where a model is to find those that were replaced (core/objective/replaced_tokens.h):
// drawing them, and putting them into the text.
#pragma once

#include <span>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// Which random words a row takes: row r belongs to sample first_sample + r / rows_per_sample, and takes the words of
/// its place there.
struct TokenDraw {
  uint64_t seed = 0;
  uint32_t site = 0;
  uint64_t first_sample = 0;
  int64_t rows_per_sample = 1;
};

/// drawn i32 [R]: for each row of scores f32 [R, columns] the index below `vocabulary` whose score and Gumbel noise
/// -log(-log(uniform)) are the largest together (the lowest of several), which draws it from the softmax of the scores.
/// They are rows first_row, … of a batch. On CUDA the noise is formed in double.
void draw_rows(const Context& context, const Tensor& scores, int64_t vocabulary, const TokenDraw& draw,
               int64_t first_row, const Tensor& drawn);

/// Rows of tokens, of which some are hidden.
struct HiddenTokens {
  Tensor tokens;     ///< i32 [B, T]: with what hides them
  Tensor positions;  ///< i32 [B·N]: b·T + t of row b's hidden ones
  Tensor originals;  ///< i32 [B·N]: what they were, or kIgnoreIndex: not hidden; a row of nothing else is padding
  Tensor first_key;  ///< i32 [B, T] or undefined, as batches have them (core/data/batch.h)
  Tensor end_key;    ///< i32 [B, T] or undefined
};

/// replaced i32 [B, T]: the tokens with `drawn` [B·N] in their places; answers i32 [B·T]: 1 where a token is another
/// than it was, else 0, kIgnoreIndex at padding.
void replace_tokens(const Context& context, const HiddenTokens& hidden, const Tensor& drawn, const Tensor& replaced,
                    const Tensor& answers);

namespace reference {
/// scores [rows, columns], columns a multiple of 4; drawn [rows].
void draw_rows(int64_t columns, std::span<const double> scores, int64_t vocabulary, const TokenDraw& draw,
               int64_t first_row, std::span<int32_t> drawn);
}  // namespace reference

}  // namespace tsugi
