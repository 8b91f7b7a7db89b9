#include "dist/bucket_reducer.h"

#include <glog/logging.h>

#include <algorithm>
#include <chrono>

#include "ops/optimizer_step/optimizer_step.h"
#include "ops/reduce/reduce.h"
#include "ops/tensor/profile.h"

namespace tsugi {
namespace {

/// Buffer `right` is added into buffer `left`.
struct Addition {
  int left = 0;
  int right = 0;
};

/// Forms the sums, in order. On a CPU block by block, so that a block stays in the cache until all sums that touch it
/// are formed.
void add(const Context& context, const std::vector<Addition>& additions, const std::vector<Tensor>& buffers) {
  if (additions.empty()) return;  // perhaps there are no buffers either
  const int64_t elements = buffers[0].elements();
  const int64_t block_elements = context.operators() == nullptr ? 64 * kChunkElements : elements;
  for (int64_t begin = 0; begin < elements; begin += block_elements) {
    const Shape block{std::min(block_elements, elements - begin)};
    for (const Addition& addition : additions) {
      add_in_place(context, buffers[static_cast<size_t>(addition.left)].slice(begin, block),
                   buffers[static_cast<size_t>(addition.right)].slice(begin, block));
    }
  }
}

/// Chunks of a flat buffer.
Tensor chunks_of(const Tensor& buffer, int64_t begin, int64_t chunks) {
  return buffer.slice(begin * kChunkElements, {chunks * kChunkElements});
}
Tensor chunks_of(const Tensor& buffer, ChunkRange range) { return chunks_of(buffer, range.begin, range.chunks()); }

Transfer transfer_of(int peer, const Tensor& tensor) { return {peer, tensor.raw(), tensor.bytes()}; }

}  // namespace

struct BucketReducer::Impl {
  /// A node of some rank that remains when all ranks have added up their leaves.
  struct Node {
    int owner = 0;
    int slot = 0;     ///< of this rank
    Tensor received;  ///< of another rank: this rank's shard of its sum
  };

  Impl(const Context& c, Communicator& group, ShardLayout shards, int64_t micro_batches)
      : context(c),
        communicator(group),
        layout(std::move(shards)),
        rank(group.rank()),
        range(leaves_of_rank(micro_batches, group.size(), group.rank())),
        exchanges(static_cast<size_t>(layout.buckets())) {
    CHECK_EQ(layout.ranks(), group.size());
    for (int i = 0; i < stack_depth(range); ++i) {
      slots.push_back(context.empty({layout.chunks() * kChunkElements}, DType::kF32));
    }
    plan_nodes(micro_batches);
  }

  /// Which nodes there are, by start, and the sums that make the total of them.
  void plan_nodes(int64_t micro_batches) {
    TreeCounter tree;
    std::vector<int> on_stack;  // the node in each slot of the tree's stack
    const auto record = [&](int left, int right) {
      final_additions.push_back({on_stack[static_cast<size_t>(left)], on_stack[static_cast<size_t>(right)]});
      on_stack.pop_back();
    };
    for (int owner = 0; owner < layout.ranks(); ++owner) {
      int slot = 0;
      for (const TreeNode& node : nodes_of_range(leaves_of_rank(micro_batches, layout.ranks(), owner))) {
        on_stack.push_back(static_cast<int>(nodes.size()));
        Tensor received;
        if (owner != rank) received = context.empty({layout.local_chunks(rank) * kChunkElements}, DType::kF32);
        nodes.push_back({owner, slot++, received});
        tree.push(node, record);
      }
    }
    tree.finish(record);
  }

  /// The buffer in which a node of this rank is summed.
  const Tensor& slot(const Node& node) const { return slots[static_cast<size_t>(node.slot)]; }

  /// This rank's shard of a bucket of the node.
  Tensor shard_of(const Node& node, int bucket) const {
    const ChunkRange shard = layout.shard(bucket, rank);
    if (node.owner == rank) return chunks_of(slot(node), shard);
    return chunks_of(node.received, layout.local_offset(bucket, rank), shard.chunks());
  }

  bool in_last_leaf() const { return leaf_open && next_leaf == range.leaves(); }

  /// Adds the current leaf's chunks to the sums of the leaves before it.
  void add_leaf(ChunkRange chunks) {
    std::vector<Tensor> buffers;
    for (const Tensor& buffer : slots) buffers.push_back(chunks_of(buffer, chunks));
    add(context, leaf_additions, buffers);
  }

  /// Sends every peer its shard of this rank's nodes, receives this rank's shard of theirs.
  void start_exchange(int bucket) {
    if (context.meta() || layout.ranks() == 1) return;
    std::vector<Transfer> sends;
    std::vector<Transfer> receives;
    for (const Node& node : nodes) {
      if (node.owner != rank) {
        receives.push_back(transfer_of(node.owner, shard_of(node, bucket)));
        continue;
      }
      for (int peer = 0; peer < layout.ranks(); ++peer) {
        if (peer != rank) sends.push_back(transfer_of(peer, chunks_of(slot(node), layout.shard(bucket, peer))));
      }
    }
    exchanges[static_cast<size_t>(bucket)] = communicator.exchange(std::move(sends), std::move(receives));
  }

  void complete_buckets(int64_t end_chunk) {
    while (completed_buckets < layout.buckets() && layout.bucket(completed_buckets).end <= end_chunk) {
      add_leaf(layout.bucket(completed_buckets));
      start_exchange(completed_buckets);
      ++completed_buckets;
    }
  }

  /// What follows comes after the exchange of a bucket.
  void order(int bucket) {
    Pending* const exchange = exchanges[static_cast<size_t>(bucket)].get();
    if (exchange == nullptr) return;
    const ProfiledOperator work("waiting for gradients", 0, {});
    const auto start = std::chrono::steady_clock::now();
    exchange->order();
    exposed += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// Adds up the nodes of one bucket into the first one, and closes the gap to the bucket before.
  void add_nodes(int bucket) {
    std::vector<Tensor> buffers;
    for (const Node& node : nodes) buffers.push_back(shard_of(node, bucket));
    add(context, final_additions, buffers);
    if (nodes[0].owner != rank || layout.ranks() == 1) return;
    // In a slot, a shard is followed by those of other ranks. Their exchange is over for this bucket and all before
    // it, so the sum moves down next to the last one, in strides that do not reach what is still to be read.
    const ChunkRange shard = layout.shard(bucket, rank);
    const int64_t target = layout.local_offset(bucket, rank);
    const int64_t gap = shard.begin - target;
    for (int64_t moved = 0; gap > 0 && moved < shard.chunks(); moved += gap) {
      const int64_t stride = std::min(gap, shard.chunks() - moved);
      convert(context, chunks_of(slot(nodes[0]), shard.begin + moved, stride),
              chunks_of(slot(nodes[0]), target + moved, stride));
    }
  }

  /// The buffer of the first node, in which all sums end.
  Tensor result() const {
    const Tensor& buffer = nodes[0].owner == rank ? slot(nodes[0]) : nodes[0].received;
    return chunks_of(buffer, 0, layout.local_chunks(rank));
  }

  Context context;
  Communicator& communicator;
  ShardLayout layout;
  int rank;
  LeafRange range;

  std::vector<Tensor> slots;
  std::vector<Node> nodes;
  std::vector<Addition> final_additions;

  TreeCounter counter;
  std::vector<Addition> leaf_additions;  ///< that the current leaf causes
  int64_t next_leaf = 0;
  bool leaf_open = false;
  int completed_buckets = 0;
  double exposed = 0.0;
  std::vector<std::unique_ptr<Pending>> exchanges;  ///< last: gone before the buffers they use
};

BucketReducer::BucketReducer(const Context& context, Communicator& communicator, ShardLayout layout,
                             int64_t micro_batches)
    : impl_(std::make_unique<Impl>(context, communicator, std::move(layout), micro_batches)) {}

BucketReducer::~BucketReducer() = default;

LeafRange BucketReducer::leaves() const { return impl_->range; }

Tensor BucketReducer::begin_leaf() {
  Impl& impl = *impl_;
  CHECK(!impl.leaf_open) << "the last leaf was not ended";
  CHECK_LT(impl.next_leaf, impl.range.leaves()) << "finish() must follow the last leaf";
  const size_t slot = impl.counter.nodes().size();
  const Tensor& gradients = impl.slots[slot];
  impl.leaf_additions.clear();
  impl.counter.push({impl.range.begin + impl.next_leaf, 1},
                    [&](int left, int right) { impl.leaf_additions.push_back({left, right}); });
  ++impl.next_leaf;
  impl.leaf_open = true;
  fill_zero(impl.context, gradients);
  return gradients;
}

void BucketReducer::mark_complete(int64_t end_chunk) {
  CHECK(impl_->leaf_open) << "no leaf is open";
  CHECK_LE(end_chunk, impl_->layout.chunks());
  if (impl_->in_last_leaf()) impl_->complete_buckets(end_chunk);
}

bool BucketReducer::would_send(int64_t before, int64_t end_chunk) const {
  const ShardLayout& layout = impl_->layout;
  if (layout.ranks() == 1 || !impl_->in_last_leaf()) return false;
  for (int bucket = 0; bucket < layout.buckets(); ++bucket) {
    const int64_t end = layout.bucket(bucket).end;
    if (before < end && end <= end_chunk) return true;
  }
  return false;
}

bool BucketReducer::in_last_leaf() const { return impl_->in_last_leaf(); }

void BucketReducer::end_leaf() {
  CHECK(impl_->leaf_open) << "no leaf is open";
  if (impl_->in_last_leaf()) {
    impl_->complete_buckets(impl_->layout.chunks());
  } else {
    impl_->add_leaf({0, impl_->layout.chunks()});
  }
  impl_->leaf_open = false;
}

Tensor BucketReducer::finish() {
  Impl& impl = *impl_;
  CHECK(!impl.leaf_open && impl.next_leaf == impl.range.leaves())
      << impl.next_leaf << " of " << impl.range.leaves() << " leaves were computed";
  impl.complete_buckets(impl.layout.chunks());  // a rank without leaves has only to receive
  impl.exposed = 0.0;
  for (int bucket = 0; bucket < impl.layout.buckets(); ++bucket) {
    impl.order(bucket);
    impl.add_nodes(bucket);
  }
  impl.counter.clear();
  impl.next_leaf = 0;
  impl.completed_buckets = 0;
  return impl.result();
}

void BucketReducer::settle() {
  for (std::unique_ptr<Pending>& exchange : impl_->exchanges) {
    if (exchange == nullptr) continue;
    exchange->wait();
    impl_->exposed += exchange->stalled_seconds();
    exchange.reset();
  }
}

double BucketReducer::exposed_seconds() const { return impl_->exposed; }

int64_t BucketReducer::buffer_bytes(const ShardLayout& layout, int rank, int64_t micro_batches) {
  int64_t chunks = stack_depth(leaves_of_rank(micro_batches, layout.ranks(), rank)) * layout.chunks();
  for (int other = 0; other < layout.ranks(); ++other) {
    if (other == rank) continue;
    const size_t nodes = nodes_of_range(leaves_of_rank(micro_batches, layout.ranks(), other)).size();
    chunks += static_cast<int64_t>(nodes) * layout.local_chunks(rank);
  }
  return chunks * kChunkElements * static_cast<int64_t>(sizeof(float));
}

}  // namespace tsugi
