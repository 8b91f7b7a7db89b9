// AdamW over flat buffers that are cut into chunks, and the norms of those chunks.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/optimizer_step/step_decision.h"
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
/// `decision`, if defined, comes from decide_step(): gradient_scale is the one in there, and nothing is updated where
/// it is not finite. A device reads it when it comes to it.
void adamw_step(const Context& context, const AdamWStep& step, std::span<const ChunkRule> chunks, const Tensor& master,
                const Tensor& exp_avg, const Tensor& exp_avg_sq, const Tensor& gradient, const Tensor& working,
                const Tensor& decision = {});

/// sums f64 [chunks.size()]: sums[i] = Σ of squares (in double, fixed order) of the valid elements of chunk i of
/// `buffer` (f32), 0 when frozen. A non-finite element makes its sum non-finite.
void chunk_square_sums(const Context& context, std::span<const ChunkRule> chunks, const Tensor& buffer,
                       const Tensor& sums);

/// Where the numbers of a step lie among those of all ranks.
struct StepNumberPlaces {
  Tensor places;      ///< i32 [ranks + leaves + chunks], of the context's device: of each the index of its first number
  int64_t ranks = 0;  ///< two numbers each: it is asked to stop, it is ready (0 or 1)
  int64_t leaves = 0;  ///< micro-batches; two numbers each: the sum of its losses, how many targets
  int64_t chunks = 0;  ///< one number each: the sum of squares of the gradient of all leaves
};

/// Floats of double precision in which a StepDecision lies.
inline constexpr int64_t kStepDecisionNumbers = sizeof(StepDecision) / sizeof(double);

/// numbers f64 [any], where `places` says. Sums them in the order of leaves and of chunks, whoever computed them, and
/// clips (Pascanu et al., 2013, algorithm 1) the gradient of the mean loss to the norm `clip_norm`; 0: does not.
/// decision f64 [kStepDecisionNumbers]: a StepDecision.
void decide_step(const Context& context, const Tensor& numbers, const StepNumberPlaces& places, float clip_norm,
                 const Tensor& decision);

namespace reference {
StepDecision decide_step(std::span<const double> numbers, std::span<const int32_t> rank_places,
                         std::span<const int32_t> leaf_places, std::span<const int32_t> chunk_places, float clip_norm);
/// One AdamW update of one element in double; updates master, exp_avg and exp_avg_sq in place.
void adamw_element(const AdamWStep& step, double learning_rate_scale, double weight_decay, double gradient,
                   double& master, double& exp_avg, double& exp_avg_sq);
}  // namespace reference

}  // namespace tsugi
