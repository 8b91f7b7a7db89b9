// AdamW over the chunk table and the norms of chunks, on CUDA; optimizer_step.h has the contract. Pointers are to
// device memory. What changes from step to step lies in device memory too, so that a captured graph never changes.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

inline constexpr int kAdamWChunk = 4096;

/// tsugi::ChunkRule on the device.
struct DeviceChunkRule {
  int32_t valid = 0;
  int32_t frozen = 0;
  float learning_rate_scale = 1.0f;
  float weight_decay = 0.0f;
};

/// tsugi::AdamWStep on the device: the host writes all but gradient_scale, which scale_gradients() may write instead.
struct DeviceAdamWStep {
  double learning_rate = 0.0;
  double correction1 = 1.0;  ///< 1 - β₁ᵗ
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float correction2_sqrt = 1.0f;  ///< √(1-β₂ᵗ)
  float gradient_scale = 1.0f;
};

/// One AdamW update of `count` chunks of 4096 elements. `working` receives the rounded master in `working_type`; null:
/// master is the working copy.
void adamw_step(Stream& stream, const DeviceAdamWStep* step, const DeviceChunkRule* chunks, int64_t count,
                float* master, float* exp_avg, float* exp_avg_sq, const float* gradient, DType working_type,
                void* working);

/// sums[i] = Σ of squares, in double and a fixed order, of the valid elements of chunk i; 0 when frozen.
void chunk_square_sums(Stream& stream, const DeviceChunkRule* chunks, int64_t count, const float* buffer, double* sums);

/// step->gradient_scale = multiplier · min(1, limit / (multiplier·√Σ sums)), the clipping of the norm of the gradient
/// after it is multiplied by `multiplier` (1 / tokens); *norm receives that norm. limit 0: no clipping. The scale is
/// not finite if the norm is not. Sums are added in a fixed order.
void scale_gradients(Stream& stream, const double* sums, int64_t count, double multiplier, double limit,
                     DeviceAdamWStep* step, double* norm);

}  // namespace tsugi::cuda
