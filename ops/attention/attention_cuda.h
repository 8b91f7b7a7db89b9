// Fused attention on CUDA; attention.h has the contract. By tensor cores in bf16, and by plain multiply-adds
// (attention_*_fma) in f32 and with heads that tensor cores do not take. Pointers are to device memory. Forward after
// Dao, "FlashAttention-2" (2023), algorithm 1, with mma.sync, or with wgmma and TMA where those are chosen. The
// backward pass is two kernels, one that owns tiles of keys (dk, dv) and one that owns tiles of queries (dq), so that
// nothing is accumulated by more than one block: seven products instead of five. kPingPong's is one kernel of five
// products, whose blocks take turns to add to dq. No float atomics: the same bits in every run.
#pragma once

#include <cstdint>

#include "ops/cuda/dropout_key.h"
#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// A bf16 [batch, tokens, heads, head_dim] array with strides in elements, multiples of 8; data is 16-byte aligned.
struct DeviceHeads {
  bf16* data = nullptr;
  int64_t batch_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

/// The same of f32 or bf16, as its reader is told, with any strides.
struct TypedHeads {
  void* data = nullptr;
  int64_t batch_stride = 0;
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

/// As tsugi::AttentionShape. For tensor cores head_dim is a multiple of 8, at most 128; what is missing to 64 or 128 is
/// padded with zeros on the chip.
struct DeviceAttentionShape {
  int batch = 0;
  int query_tokens = 0;
  int key_tokens = 0;
  int heads = 0;
  int key_heads = 0;
  int head_dim = 0;
  float scale = 1.0f;
  bool causal = true;
  int window = 0;                      ///< 0: none
  const int32_t* first_key = nullptr;  ///< [batch, query_tokens]; null: no bound
  const int32_t* end_key = nullptr;
  const float* relative_bias = nullptr;  ///< [heads, key_tokens + query_tokens - 1]; null: none. kMma: scale not 0
};

/// How it is computed. Each is deterministic; their results differ in rounding.
enum class AttentionKernel {
  kMma,       ///< mma.sync: sm_80 and later
  kWgmma,     ///< wgmma and TMA, a producer warp: sm_90a, no dropout
  kPingPong,  ///< forward the same, products and softmax of neighbouring tiles and warpgroups overlapped; backward one
              ///< pass of five products
};

/// Throws Error(kUsage) for what the kernels cannot do.
void check_attention(const DeviceAttentionShape& shape);
/// The same for what that kernel cannot do with the shape.
void check_attention(const DeviceAttentionShape& shape, AttentionKernel kernel);
/// The same for what the device in use, or that kernel, cannot do.
void check_attention(AttentionKernel kernel, const DropoutKey& dropout = {});

/// out: contiguous [batch, query_tokens, heads·head_dim]; log_sum_exp f32 [batch, heads, query_tokens], +inf for a
/// query that sees no key; may be null. Throws Error(kUsage) where `kernel` cannot do it or the device lacks it.
void attention_forward(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q, const DeviceHeads& k,
                       const DeviceHeads& v, const DropoutKey& dropout, bf16* out, float* log_sum_exp,
                       AttentionKernel kernel = AttentionKernel::kMma);

/// kWgmma, or kPingPong if `overlap` (attention_forward_hopper_cuda.cu); called by attention_forward().
void attention_forward_hopper(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q,
                              const DeviceHeads& k, const DeviceHeads& v, bool overlap, bf16* out, float* log_sum_exp);

/// Bytes of scratch that the backward pass needs, 16-byte aligned; `d_bias`: with d_relative_bias, for which every tile
/// of 64 queries keeps sums of its own. kPingPong keeps sums for dq in f32.
size_t attention_scratch_bytes(const DeviceAttentionShape& shape, bool d_bias = false,
                               AttentionKernel kernel = AttentionKernel::kMma);

/// Writes dq, dk and dv, and d_relative_bias (as shape.relative_bias; may be null): of every head and distance the sum
/// over all pairs, those of a tile along its diagonals, then tiles of keys, tiles of queries and the batch in order.
/// kWgmma has the two passes of kMma; kPingPong has one, in which blocks of keys add to dq in a fixed order.
void attention_backward(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q, const DeviceHeads& k,
                        const DeviceHeads& v, const DropoutKey& dropout, const bf16* out, const float* log_sum_exp,
                        const bf16* d_out, void* scratch, const DeviceHeads& dq, const DeviceHeads& dk,
                        const DeviceHeads& dv, AttentionKernel kernel = AttentionKernel::kMma,
                        float* d_relative_bias = nullptr);

/// Elements of a head that attention_forward_fma() and attention_backward_fma() take at most.
inline constexpr int kMostFmaHeadDim = 256;

/// Whether attention_forward() and attention_backward() take heads of that type and size.
bool fits_tensor_cores(DType type, int head_dim);

/// Throws Error(kUsage) for heads of more than kMostFmaHeadDim elements.
void check_attention_fma(const DeviceAttentionShape& shape);

/// As attention_forward(), of f32 or bf16, with sums and probabilities in f32: the same two passes backward, over tiles
/// of 64 queries and keys (beyond 128 elements a head: 32). Everything that kMma takes.
void attention_forward_fma(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                           const TypedHeads& k, const TypedHeads& v, const DropoutKey& dropout, void* out,
                           float* log_sum_exp);

size_t attention_fma_scratch_bytes(const DeviceAttentionShape& shape, bool d_bias = false);

void attention_backward_fma(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                            const TypedHeads& k, const TypedHeads& v, const DropoutKey& dropout, const void* out,
                            const float* log_sum_exp, const void* d_out, void* scratch, const TypedHeads& dq,
                            const TypedHeads& dk, const TypedHeads& dv, float* d_relative_bias = nullptr);

/// The most queries of a head for which attention_decode() is the faster kernel.
inline constexpr int kMostDecodedQueries = 8;
/// Keys whose sums attention_decode() forms together.
inline constexpr int kDecodeKeys = 256;

/// Bytes of scratch that attention_decode() needs: sums of each chunk of kDecodeKeys keys.
size_t attention_decode_scratch_bytes(const DeviceAttentionShape& shape);

/// As attention_forward_fma(), without dropout, for few queries of many keys (generation): a block per chunk of keys of
/// a key head, which all queries of its heads share; a second pass adds the chunks' sums in order.
void attention_decode(Stream& stream, DType type, const DeviceAttentionShape& shape, const TypedHeads& q,
                      const TypedHeads& k, const TypedHeads& v, void* scratch, void* out);

}  // namespace tsugi::cuda
