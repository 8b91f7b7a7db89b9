// Cross-entropy fused with the vocabulary projection, in chunks of rows: the logits of all rows never exist at once.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

inline constexpr int32_t kIgnoreIndex = -1;

/// A sum over rows and how many rows were counted. Means are formed only after all ranks' sums are added.
struct LossSum {
  double sum = 0.0;  ///< nats
  int64_t count = 0;
};

/// Rows of a chunk: all `rows` if that makes at most 2^24 logits; else a multiple of 32, at least 32, that cuts them
/// into chunks of about equal length. `columns` is the padded vocabulary.
int64_t cross_entropy_chunk_rows(int64_t rows, int64_t columns);

/// Logits of a chunk = hidden·weightᵀ (f32); columns >= vocabulary are padding and take no part in the softmax.
/// hidden [R, C] and weight [V_padded, C] of one type; targets i32 [R] in [0, vocabulary) or kIgnoreIndex.
/// Returns Σ over the valid rows of -log softmax(logits)[target], summed in double in row order.
/// `row_loss` f32 [R], if defined, receives each row's loss (0 where ignored).
/// With `d_hidden` [R, C] (f32 or the type of hidden) and `d_weight` [V_padded, C] f32 defined (both or neither): also
/// the gradients of that *sum*; d_hidden is written, d_weight is added to. The gradient of the logits is f32, rounded
/// to the type of hidden before those two products; it is exactly zero in padded columns and ignored rows. Chunked
/// logits after Liger-Kernel (Hsu et al., 2024), section 3.2.
LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                             int64_t vocabulary, const Tensor& row_loss, const Tensor& d_hidden,
                             const Tensor& d_weight);

namespace reference {
/// Loss sum, and the gradients of it (written to d_hidden, added to d_weight) when the spans are not empty.
LossSum linear_cross_entropy(int64_t rows, int64_t width, int64_t vocabulary, std::span<const double> hidden,
                             std::span<const double> weight, std::span<const int32_t> targets,
                             std::span<double> d_hidden, std::span<double> d_weight);
}  // namespace reference

}  // namespace tsugi
