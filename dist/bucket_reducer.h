// Sums the gradients of all micro-batches over all ranks, bucket by bucket, while backward still runs.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dist/communicator.h"
#include "dist/shard_layout.h"
#include "dist/tree_reduction.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// One step: for every leaf (micro-batch) of this rank, in order: fill the tensor from begin_leaf() with zeros-based
/// gradients, call mark_complete() as backward finishes parts, then end_leaf(). After the last leaf: finish().
/// During the last leaf a bucket's exchange starts as soon as mark_complete() passes its end.
/// Memory: stack_depth full f32 buffers, plus receive buffers of this rank's shard for every remote node.
class BucketReducer {
 public:
  /// `context`: threads for the additions; `memory` inside it supplies the long-lived buffers.
  BucketReducer(const Context& context, Communicator& communicator, ShardLayout layout, int64_t micro_batches);
  ~BucketReducer();

  /// The leaves this rank computes.
  LeafRange leaves() const;

  /// f32 [chunks·kChunkElements], zeroed: where the next micro-batch adds its gradients.
  Tensor begin_leaf();
  /// The gradients of chunks [0, end_chunk) of the current leaf are final.
  void mark_complete(int64_t end_chunk);
  /// Whether mark_complete(end_chunk) has something to send to others, after mark_complete(before).
  bool would_send(int64_t before, int64_t end_chunk) const;
  /// Whether the current leaf is this rank's last.
  bool in_last_leaf() const;
  void end_leaf();

  /// Adds the nodes of all ranks when the exchanges are over: f32 [local_chunks(rank)·kChunkElements], this rank's
  /// shard of Σ over all M micro-batches. Valid until the next begin_leaf(). Waits for the exchanges; of a device's
  /// memory the device alone does, and settle() must follow.
  Tensor finish();
  /// Waits until the exchanges are over, and throws what went wrong with them.
  void settle();

  /// Seconds of the last step spent waiting for others: communication that was not hidden. After settle().
  double exposed_seconds() const;
  /// Bytes of all buffers; the same number before construction, for the plan.
  static int64_t buffer_bytes(const ShardLayout& layout, int rank, int64_t micro_batches);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
