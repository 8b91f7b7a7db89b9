// AdamW over the chunk table and the norms of chunks, on CUDA; optimizer_step.h has the contract. Pointers are to
// device memory. What changes from step to step lies in device memory too, so that a captured graph never changes.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/optimizer_step/step_decision.h"
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

/// tsugi::AdamWStep on the device.
struct DeviceAdamWStep {
  double learning_rate = 0.0;
  double correction1 = 1.0;  ///< 1 - β₁ᵗ
  float beta1 = 0.9f;
  float beta2 = 0.95f;
  float epsilon = 1e-8f;
  float correction2_sqrt = 1.0f;  ///< √(1-β₂ᵗ)
  float gradient_scale = 1.0f;

  bool operator==(const DeviceAdamWStep&) const = default;
};

/// One AdamW update of `count` chunks of 4096 elements. `working` receives the rounded master in `working_type`; null:
/// master is the working copy. `decision`, if not null: gradient_scale is the one in there, and nothing changes where
/// it is not finite.
void adamw_step(Stream& stream, const DeviceAdamWStep* step, const StepDecision* decision,
                const DeviceChunkRule* chunks, int64_t count, float* master, float* exp_avg, float* exp_avg_sq,
                const float* gradient, DType working_type, void* working);

/// sums[i] = Σ of squares, in double and a fixed order, of the valid elements of chunk i; 0 when frozen.
void chunk_square_sums(Stream& stream, const DeviceChunkRule* chunks, int64_t count, const float* buffer, double* sums);

/// tsugi::decide_step(): places [ranks + leaves + chunks]. Sums in an order that the three counts fix.
void decide_step(Stream& stream, const double* numbers, const int32_t* places, int64_t ranks, int64_t leaves,
                 int64_t chunks, double clip_norm, StepDecision* decision);

}  // namespace tsugi::cuda
