// Cross-entropy fused with the vocabulary projection, in chunks of rows: the logits of all rows never exist at once.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

inline constexpr int32_t kIgnoreIndex = -1;

/// Sums over rows and how many were counted. Means are formed only after all ranks' sums are added.
struct LossSum {
  double sum = 0.0;  ///< of -log softmax(logits)[target], nats, whatever the options
  int64_t count = 0;
  double z_loss = 0.0;     ///< of coefficient·log²Z: in the gradients, not in `sum`
  double smoothing = 0.0;  ///< of what label smoothing adds: in the gradients, not in `sum`
};

/// What is minimised beside, or instead of, the plain cross-entropy.
struct CrossEntropyOptions {
  /// Logits are soft_cap·tanh(logit / soft_cap); 0: as they are (Gemma Team, "Gemma 2", 2024, section 2).
  float soft_cap = 0.0f;
  /// Adds z_loss·log²Z, Z the sum of the exponentials (Chowdhery et al., "PaLM", 2022, section 5: 1e-4).
  float z_loss = 0.0f;
  /// The target distribution is (1 - ε)·onehot + ε / vocabulary (Szegedy et al. 2016, section 7), ε in [0, 1).
  float label_smoothing = 0.0f;
  /// For targets of which many are ignored (supervised fine-tuning): the other rows are collected, in order, so that
  /// ignored ones cost next to nothing, to an eighth of all rows; needs memory for that many rows of hidden and of its
  /// gradient. Sums of gradients are grouped otherwise than without.
  bool skip_ignored = false;
  /// Added to the logits before the soft cap: [V_padded] of the type of weight; undefined: none. `d_bias` f32
  /// [V_padded], if defined, is added to; a bias without it is a constant.
  Tensor bias = {};
  Tensor d_bias = {};
};

/// Rows of a chunk: all `rows` if that makes at most `logits` logits; else a multiple of 32, at least 32, that cuts
/// them into chunks of about equal length. `columns` is the padded vocabulary.
int64_t cross_entropy_chunk_rows(int64_t rows, int64_t columns, int64_t logits = int64_t{1} << 24);

/// Logits of a chunk = hidden·weightᵀ + options.bias (f32); columns >= vocabulary are padding and take no part in the
/// softmax. hidden [R, C] and weight [V_padded, C] of one type; targets i32 [R] in [0, vocabulary) or kIgnoreIndex.
/// Returns sums over the valid rows, formed in double in row order.
/// `row_loss` f32 [R], if defined, receives each row's -log softmax(logits)[target] (0 where ignored).
/// `d_hidden` [R, C] (f32 or the type of hidden) and `d_weight` [V_padded, C] f32, where defined, receive the gradients
/// of the *sum* of all three terms; d_hidden is written, d_weight is added to. The gradient of the logits is f32,
/// rounded to the type of hidden before those two products; it is exactly zero in padded columns and ignored rows.
/// Chunked logits after Liger-Kernel (Hsu et al., 2024), section 3.2.
LossSum linear_cross_entropy(const Context& context, const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                             int64_t vocabulary, const Tensor& row_loss, const Tensor& d_hidden, const Tensor& d_weight,
                             const CrossEntropyOptions& options = {});

namespace reference {
/// Sums, and the gradients of their total (written to d_hidden, added to d_weight and d_bias) when the spans are not
/// empty; `bias` and `d_bias` instead of those of the options.
LossSum linear_cross_entropy(int64_t rows, int64_t width, int64_t vocabulary, std::span<const double> hidden,
                             std::span<const double> weight, std::span<const int32_t> targets,
                             std::span<double> d_hidden, std::span<double> d_weight,
                             const CrossEntropyOptions& options = {}, std::span<const double> bias = {},
                             std::span<double> d_bias = {});
}  // namespace reference

}  // namespace tsugi
