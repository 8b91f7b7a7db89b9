// The few numbers by which ranks agree on a step, where they are needed: in the memory that computes.
#pragma once

#include <memory>

#include "dist/communicator.h"
#include "dist/shard_layout.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "ops/optimizer_step/optimizer_step.h"

namespace tsugi {

/// Every rank puts its own into its part; gathered, they are decided on without the host (decide_step()), by all ranks
/// alike.
class StepNumbers {
 public:
  /// `layout`: of the gradients. `context`: of the device, with memory for what lives long.
  StepNumbers(const Context& context, const ShardLayout& layout, int rank, int64_t micro_batches);

  void put_signals(bool stop, bool ready);
  /// Of micro-batch `leaf` of all of the step; one of this rank's.
  void put_loss(int64_t leaf, const LossSum& loss);
  /// f64 [2]: where a device leaves it.
  Tensor loss_slot(int64_t leaf) const;
  /// f64 [chunks of this rank's shard].
  Tensor square_sums() const;

  /// Brings the parts of all ranks together. Null: there is but one.
  std::unique_ptr<Pending> gather(Communicator& communicator);
  /// Of what was gathered: f64, a StepDecision; the same tensor every time.
  Tensor decide(float clip_norm);
  /// What decide() came to. Waits for a device.
  StepDecision read() const;

 private:
  Tensor part(int64_t first, int64_t count) const;
  void put(int64_t first, double one, double other);

  Context context_;
  int64_t first_leaf_ = 0;
  int64_t leaves_ = 0;
  std::vector<size_t> offsets_;  ///< bytes at which the parts of the ranks begin, and the end
  int64_t begin_ = 0;            ///< of this rank's part
  int64_t count_ = 0;            ///< of its numbers
  Tensor numbers_, decision_;
  StepNumberPlaces places_;
};

}  // namespace tsugi
