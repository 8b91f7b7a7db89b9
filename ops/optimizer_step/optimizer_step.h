// AdamW over flat buffers that are cut into chunks, and the norms of those chunks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/tensor/context.h"

namespace tsugi {

/// Parameters, moments and gradients are flat buffers; a tensor starts at a chunk boundary and its last chunk is
/// padded.
inline constexpr int64_t kChunkElements = 4096;

/// What the optimizer does with one chunk.
struct ChunkRule {
  int32_t tensor = 0;  ///< index of the tensor it belongs to
  int32_t valid = 0;   ///< elements that are not padding
  float learning_rate_scale = 1.0f;
  float weight_decay = 0.0f;  ///< decoupled: w -= lr·decay·w
  bool frozen = false;        ///< parameters and moments stay as they are
};

/// Scalars of one step, equal for all chunks.
struct AdamWStep {
  float learning_rate = 0.0f;
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  int64_t step = 1;             ///< 1 for the first update (bias correction)
  float gradient_scale = 1.0f;  ///< clipping and 1/tokens: the gradient is multiplied by it first
};

/// One AdamW update (Loshchilov and Hutter, "Decoupled weight decay regularization" (2019), algorithm 2) of the chunks
/// [first_chunk, first_chunk + chunks.size()) of the table. master, exp_avg, exp_avg_sq, gradient: f32
/// [chunks.size()·kChunkElements], this rank's shard. working: same size in the compute type, receives the rounded
/// master; it may be the very memory of master (f32). Padding is not touched.
/// PyTorch's form: w ← w·(1 - lr·decay); m ← lerp; w ← w - lr/(1-β₁ᵗ) · m / (√v/√(1-β₂ᵗ) + ε).
void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working);

/// sums[i] = Σ of squares (in double, fixed order) of the valid elements of chunk i of `buffer` (f32), 0 when frozen.
/// A non-finite element makes its sum non-finite.
void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       std::span<double> sums);

namespace reference {
/// One AdamW update of one element in double; updates master, exp_avg and exp_avg_sq in place.
void adamw_element(const AdamWStep& step, double learning_rate_scale, double weight_decay, double gradient,
                   double& master, double& exp_avg, double& exp_avg_sq);
}  // namespace reference

}  // namespace tsugi
