#include "core/train/step_numbers.h"

#include <cstring>

#include "dist/tree_reduction.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr int64_t kSignals = 2;
constexpr int64_t kLoss = 2;

}  // namespace

/// A part is: signals, losses of the rank's micro-batches, sums of the chunks of its shard.
StepNumbers::StepNumbers(const Context& context, const ShardLayout& layout, int rank, int64_t micro_batches)
    : context_(context) {
  places_.ranks = layout.ranks();
  places_.leaves = micro_batches;
  places_.chunks = layout.chunks();
  std::vector<int32_t> rank_places, leaf_places;
  std::vector<int32_t> chunk_places(static_cast<size_t>(layout.chunks()));
  int64_t at = 0;
  const auto take = [&](int64_t count) {
    const int64_t first = at;
    at += count;
    return static_cast<int32_t>(first);
  };
  for (int owner = 0; owner < layout.ranks(); ++owner) {
    const LeafRange leaves = leaves_of_rank(micro_batches, layout.ranks(), owner);
    if (owner == rank) {
      begin_ = at;
      first_leaf_ = leaves.begin;
      leaves_ = leaves.leaves();
    }
    offsets_.push_back(static_cast<size_t>(at) * sizeof(double));
    rank_places.push_back(take(kSignals));
    for (int64_t leaf = leaves.begin; leaf < leaves.end; ++leaf) leaf_places.push_back(take(kLoss));
    for (int bucket = 0; bucket < layout.buckets(); ++bucket) {
      const ChunkRange shard = layout.shard(bucket, owner);
      for (int64_t chunk = shard.begin; chunk < shard.end; ++chunk) chunk_places[static_cast<size_t>(chunk)] = take(1);
    }
    if (owner == rank) count_ = at - begin_;
  }
  offsets_.push_back(static_cast<size_t>(at) * sizeof(double));

  std::vector<int32_t> places = std::move(rank_places);
  places.insert(places.end(), leaf_places.begin(), leaf_places.end());
  places.insert(places.end(), chunk_places.begin(), chunk_places.end());
  places_.places = context.empty({std::ssize(places)}, DType::kI32);
  numbers_ = context.empty({at}, DType::kF64);
  decision_ = context.empty({kStepDecisionNumbers}, DType::kF64);
  copy_from_host(context, places.data(), places_.places);
}

Tensor StepNumbers::part(int64_t first, int64_t count) const { return numbers_.slice(begin_ + first, {count}); }

void StepNumbers::put(int64_t first, double one, double other) {
  const double numbers[] = {one, other};
  copy_from_host(context_, numbers, part(first, 2));
}

void StepNumbers::put_signals(bool stop, bool ready) { put(0, stop ? 1.0 : 0.0, ready ? 1.0 : 0.0); }

void StepNumbers::put_loss(int64_t leaf, const LossSum& loss) {
  put(kSignals + kLoss * (leaf - first_leaf_), loss.sum, static_cast<double>(loss.count));
}

Tensor StepNumbers::loss_slot(int64_t leaf) const { return part(kSignals + kLoss * (leaf - first_leaf_), kLoss); }

Tensor StepNumbers::square_sums() const {
  const int64_t before = kSignals + kLoss * leaves_;
  return part(before, count_ - before);
}

std::unique_ptr<Pending> StepNumbers::gather(Communicator& communicator) {
  if (communicator.size() == 1) return nullptr;
  return communicator.all_gather(numbers_.raw(), offsets_);
}

Tensor StepNumbers::decide(float clip_norm) {
  decide_step(context_, numbers_, places_, clip_norm, decision_);
  return decision_;
}

StepDecision StepNumbers::read() const {
  const Tensor host = on_host(context_, decision_);
  StepDecision decision;
  std::memcpy(&decision, host.raw(), sizeof(decision));
  return decision;
}

}  // namespace tsugi
