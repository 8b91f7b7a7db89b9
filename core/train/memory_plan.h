// How much memory a rank needs, before anything is allocated.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/objective/objective.h"
#include "dist/shard_layout.h"

namespace tsugi {

/// Bytes of one rank, on the device that computes but for the copy.
struct MemoryPlan {
  int64_t parameters = 0;        ///< working copy, and the table of rotary positions
  int64_t optimizer = 0;         ///< moments, and master weights in bf16
  int64_t gradients = 0;         ///< slots of the tree sum and receive buffers
  int64_t training_arena = 0;    ///< activations and temporaries of a step
  int64_t evaluation_arena = 0;  ///< the same for validation
  int64_t feature_arena = 0;     ///< the same for features alone; objectives that compare them
  int64_t checkpoint_copy = 0;   ///< state that is being written; in host memory, whatever the device
  int64_t comparison = 0;        ///< features of the whole step and how they are compared; the same objectives
  int64_t objective_state = 0;   ///< what the objective keeps beside the parameters
  /// Of the block in which the three arenas lie, each at its time.
  int64_t arenas() const { return std::max({training_arena, evaluation_arena, feature_arena}); }
  int64_t on_device() const { return parameters + optimizer + gradients + arenas() + comparison + objective_state; }
  int64_t total() const { return on_device() + checkpoint_copy; }
};

/// Layout of a training micro-batch's activations, from a dry run on the meta device.
ArenaPlan plan_training_arena(Device device, ParameterStore& store, const Transformer& model,
                              const Objective& objective, const RunConfig& config);
/// The same for a validation batch.
ArenaPlan plan_evaluation_arena(Device device, const Transformer& model, const Objective& objective,
                                const RunConfig& config);

/// Objectives that compare features: layout of a micro-batch's pass for features alone, and of comparing those of a
/// step on `rank` of `ranks`.
ArenaPlan plan_feature_arena(Device device, const Transformer& model, const Objective& objective,
                             const RunConfig& config);
ArenaPlan plan_comparison_arena(Device device, const Objective& objective, const RunConfig& config, int ranks,
                                int rank);
/// The features of a whole step, f32 [micro-batches, rows, width], without content.
Tensor shape_of_features(const Objective& objective, const RunConfig& config);

/// The table of rotary positions that all training passes share, without content; undefined in models without.
Tensor shape_of_rotary_table(const Transformer& model, const Objective& objective);

/// Whether the state is copied to be written: always where the host cannot read it.
bool copies_state(const Device& device, const CheckpointConfig& config);

/// Floats of a rank's masters and moments that a checkpoint, or on a device its loading, needs at once.
int64_t copied_floats(const Device& device, const ParameterStore& store, const ShardLayout& layout, int rank,
                      const AdapterConfig& adapter);

/// Buckets and shards of a run; a bucket ends where the trainable chunks do.
ShardLayout make_layout(const ParameterStore& store, const DistConfig& config, int ranks);

/// Everything together, for `rank` of `ranks`. The store must be allocated (on a meta device is enough).
MemoryPlan plan_memory(Device device, ParameterStore& store, const Transformer& model, const Objective& objective,
                       const RunConfig& config, int ranks, int rank);

}  // namespace tsugi
