// Fused attention: softmax(q·kᵀ·scale)·v without ever holding the T×T scores. Causal or not, grouped queries, sliding
// windows, packed or padded documents, a number for each head and distance added to the scores.
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

/// Sizes of one attention, and which keys a query sees. The *diagonal* of query i is key i + (key_tokens -
/// query_tokens): with a cache the queries are the last tokens. Query i sees key j if all that is set here allows it;
/// a query that sees none has zeros as output and gives zero gradients. Tiles that no query sees are not computed.
struct AttentionShape {
  int64_t batch = 0;
  int64_t query_tokens = 0;
  int64_t key_tokens = 0;
  int64_t heads = 0;
  int64_t head_dim = 0;
  DType dtype = DType::kF32;
  float scale = 1.0f;  ///< usually 1/sqrt(head_dim)
  /// Heads of k and v; 0: as many as `heads`, of which it is a divisor. Query head h reads key head h / (heads /
  /// key_heads): Ainslie et al., "GQA" (2023).
  int64_t key_heads = 0;
  /// j ≤ diagonal (then query_tokens ≤ key_tokens). False: bidirectional, or cross-attention.
  bool causal = true;
  /// |diagonal - j| < window; 0: no window. Causal: the last `window` keys up to the diagonal (Mistral, Qwen2).
  int64_t window = 0;
  /// first_key[b, i] ≤ j < end_key[b, i], i32 [batch, query_tokens]; undefined: no bound. Packed documents set
  /// first_key to the document's first token; padding and prefixes of bidirectional attention set end_key.
  Tensor first_key = {};
  Tensor end_key = {};
  /// f32 [heads, key_tokens + query_tokens - 1]: the score of query i and key j of head h is q·k·scale +
  /// relative_bias[h, j - i + query_tokens - 1], a function of the distance of the key from the diagonal (Raffel et al.
  /// 2020, section 2.1); undefined: nothing is added. Column c is distance c - (key_tokens - 1).
  Tensor relative_bias = {};

  int64_t kv_heads() const { return key_heads == 0 ? heads : key_heads; }
  /// Query heads that share a key head.
  int64_t group() const { return heads / kv_heads(); }
};

/// out = attention(q, k, v), [batch, query_tokens, heads·head_dim] contiguous, of the shape's dtype.
/// `log_sum_exp` f32 [batch, heads, query_tokens] is saved for the backward pass; may be undefined in inference.
/// `dropout` acts on the probabilities: row = batch, element = (head·query_tokens + query)·key_tokens + key.
/// Keys that a query does not see are not read for it, or meet exact zeros: finite values there change no bit.
/// Memory beyond the outputs: per-thread tiles; in decoding (one query) over a long cache, also the sums of its chunks
/// of kDecodeChunk keys, which are added in order. Online softmax after Milakov and Gimelshein (2018), tiles after Dao
/// et al., "FlashAttention" (2022), algorithm 1. Deterministic, whatever the number of threads.
void attention_forward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                       const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp);

inline constexpr int64_t kDecodeChunk = 1024;

/// Writes (not adds) dq, dk, dv, given `d_out`. Scores are recomputed from log_sum_exp (FlashAttention, algorithm 4).
/// dk and dv are sums over the query heads of a group, in order. A key head is one task that visits its pairs of tiles
/// in order; where that would leave threads idle there are two passes instead (dq over query tiles; dk and dv over key
/// tiles). Both sum the same terms in the same order, nothing is accumulated by more than one thread, and so the
/// results are the same bits whatever the number of threads.
/// `d_relative_bias` (as shape.relative_bias; may be undefined) is written, too: sums over the batch and all pairs of
/// one distance, through a workspace of batch·heads·(query tiles of 64)·(key_tokens + 63) floats.
void attention_backward(const Context& context, const AttentionShape& shape, const HeadsView& q, const HeadsView& k,
                        const HeadsView& v, const Dropout& dropout, const Tensor& out, const Tensor& log_sum_exp,
                        const Tensor& d_out, const HeadsView& dq, const HeadsView& dk, const HeadsView& dv,
                        const Tensor& d_relative_bias = {});

namespace reference {
/// Plain loops in double. All arrays are contiguous [batch, tokens, heads or key heads, head_dim]. `dropout` as above.
void attention_forward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                       std::span<const double> v, const Dropout& dropout, std::span<double> out);
/// Writes dq, dk, dv, and d_relative_bias if it is not empty.
void attention_backward(const AttentionShape& shape, std::span<const double> q, std::span<const double> k,
                        std::span<const double> v, const Dropout& dropout, std::span<const double> d_out,
                        std::span<double> dq, std::span<double> dk, std::span<double> dv,
                        std::span<double> d_relative_bias = {});
}  // namespace reference

}  // namespace tsugi
