// Fused causal attention: softmax(q·kᵀ·scale)·v without ever holding the T×T scores.
#pragma once

#include <span>

#include "ops/tensor/context.h"

namespace tsugi {

/// A [batch, tokens, heads, head_dim] array with strides (in elements), so that q, k and v may lie inside one packed
/// [batch, tokens, 3·width] buffer or in a key/value cache. head_dim is contiguous.
struct HeadsView {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

/// Sizes of one attention. Query i attends to keys 0 … i + (key_tokens - query_tokens): the queries are the last ones.
struct AttentionShape {
  int64_t batch = 0;
  int64_t query_tokens = 0;
  int64_t key_tokens = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF32;
  float scale = 1.0f;  ///< usually 1/sqrt(head_dim)
};

/// out = attention(q, k, v), [batch, query_tokens, heads·head_dim] contiguous, of the shape's dtype.
/// `log_sum_exp` f32 [batch, heads, query_tokens] is saved for the backward pass; may be undefined in inference.
/// `dropout` acts on the probabilities: row = batch, element = (head·query_tokens + query)·key_tokens + key.
/// Keys above the diagonal are not read for a query, or meet exact zeros: finite values there change no bit.
/// Memory beyond the outputs: per-thread tiles. Online softmax after Milakov and Gimelshein (2018), tiles after
/// Dao et al., "FlashAttention" (2022), algorithm 1. Deterministic, whatever the number of threads.
void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp);

/// Writes (not adds) dq, dk, dv, given `d_out`. Scores are recomputed from log_sum_exp (FlashAttention, algorithm 4).
/// A head is one task that visits its pairs of tiles in order; where that would leave threads idle there are two passes
/// instead (dq over query tiles; dk and dv over key tiles). Both sum the same terms in the same order, nothing is
/// accumulated by more than one thread, and so the results are the same bits whatever the number of threads.
void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv);

namespace reference {
/// Plain loops in double. All arrays are contiguous [batch, tokens, heads, head_dim]. `dropout` as above.
void attention_forward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                       std::span<const double> v, const Dropout& dropout, std::span<double> out);
/// Writes dq, dk, dv.
void attention_backward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                        std::span<const double> v, const Dropout& dropout, std::span<const double> d_out,
                        std::span<double> dq, std::span<double> dk, std::span<double> dv);
}  // namespace reference

}  // namespace tsugi
