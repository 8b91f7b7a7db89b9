// AdamW whose state is sharded over the ranks: each rank keeps master weights and moments of its shard only
// (Rajbhandari et al., "ZeRO" (2020), stage 1), updates it, and the working copies are gathered.
#pragma once

#include <cstdint>
#include <vector>

#include "core/autograd/parameter_store.h"
#include "core/checkpoint/checkpoint.h"
#include "dist/communicator.h"
#include "dist/shard_layout.h"

namespace tsugi {

class ShardedAdamW {
 public:
  /// `layout`: of all chunks; a bucket ends where the trainable ones do. `context.memory()` supplies moments of what is
  /// trained and (bf16 only: in f32 the working copy is the master) master weights of everything.
  ShardedAdamW(const Context& context, ParameterStore& store, ShardLayout layout, int rank, float weight_decay);

  const ShardLayout& layout() const { return layout_; }
  /// Of what is trained: the one of gradients.
  const ShardLayout& trainable_layout() const { return trainable_; }

  /// Fills the whole working copy and the shard's master weights with initial values; the moments are zero.
  void initialize(uint64_t seed);

  /// sums f64 [chunks of the shard (of trainable_layout())]: Σ of squares of each of a gradient, in the order of the
  /// shard.
  void square_sums(const Tensor& shard_gradient, const Tensor& sums) const;

  /// Updates the shard's masters, moments and working copy, as `decision` says (see adamw_step()), and starts to bring
  /// the shards of all ranks together, bucket by bucket: the gathers under way. Collective.
  [[nodiscard]] std::vector<std::unique_ptr<Pending>> step(const AdamWStep& step, const Tensor& shard_gradient,
                                                           const Tensor& decision, Communicator& communicator);

  /// Brings the shards of the working copy of all ranks together, also those of frozen tensors, which a step does not
  /// change. Collective.
  void gather(Communicator& communicator);

  /// Rounds the masters into the shard's working copy (after loading).
  void refresh_working();

  /// The logical elements of this rank's shard, for checkpoints: addresses on the context's device. With `moments`
  /// false: weights only.
  std::vector<StateRange> ranges(bool moments) const;

  /// Bytes of moments and masters for a rank.
  static int64_t state_bytes(const ParameterStore& store, const ShardLayout& layout, int rank);

 private:
  /// Null: there is nobody else.
  std::unique_ptr<Pending> start_gather(Communicator& communicator, int bucket);
  /// Initial values, made by the host, to f32 or bf16 memory of another device.
  void fill_device(uint64_t seed, ChunkRange range, const Tensor& target) const;
  Tensor master(int bucket) const;
  Tensor working(int bucket) const;
  Tensor local(const Tensor& shard, int bucket) const;

  Context context_;
  ParameterStore* store_;
  ShardLayout layout_;
  ShardLayout trainable_;  ///< its first buckets
  int rank_;
  std::vector<ChunkRule> rules_;        ///< of all chunks
  std::vector<ChunkRule> shard_rules_;  ///< of this rank's trainable ones, in the order of the shard
  Tensor master_;                       ///< undefined in f32
  Tensor exp_avg_;
  Tensor exp_avg_sq_;
};

}  // namespace tsugi
