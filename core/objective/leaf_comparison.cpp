#include "core/objective/leaf_comparison.h"

#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

/// Parts of a buffer by rank: `bytes` per leaf.
void gather_parts(Communicator& communicator, void* buffer, int64_t leaves, size_t bytes) {
  std::vector<size_t> offsets;
  for (int rank = 0; rank < communicator.size(); ++rank) {
    offsets.push_back(static_cast<size_t>(leaves_of_rank(leaves, communicator.size(), rank).begin) * bytes);
  }
  offsets.push_back(static_cast<size_t>(leaves) * bytes);
  communicator.all_gather(buffer, std::move(offsets))->wait();
}

}  // namespace

void gather_leaves(Communicator& communicator, const Tensor& features) {
  const int64_t leaves = features.shape()[0];
  gather_parts(communicator, features.raw(), leaves, features.bytes() / static_cast<size_t>(leaves));
}

FeatureLoss compare_leaves(const Context& context, Communicator& communicator, const Tensor& features,
                           const LeafComparison& comparison) {
  CHECK_EQ(features.shape().rank(), 3);
  const int64_t leaves = features.shape()[0];
  const int64_t rows = features.shape()[1];
  const int64_t width = features.shape()[2];
  const LeafRange own = leaves_of_rank(leaves, communicator.size(), communicator.rank());
  FeatureLoss result;
  result.gradient = context.empty({own.leaves(), rows, width}, DType::kF32);
  const auto gradient_of = [&](int64_t leaf) {
    return result.gradient.slice((leaf - own.begin) * rows * width, {rows, width});
  };
  const Tensor facts = context.empty({leaves * rows, comparison.facts}, DType::kF64);
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    const Tensor told = facts.slice(leaf * rows * comparison.facts, {rows, comparison.facts});
    const InfoNceSum sum = comparison.queries(leaf, told, gradient_of(leaf));
    result.losses.push_back(sum.loss);
    result.nearest += sum.nearest;
  }
  gather_parts(communicator, facts.raw(), leaves, static_cast<size_t>(rows * comparison.facts) * sizeof(double));
  const Tensor as_keys = context.empty({rows, width}, DType::kF32);
  for (int64_t leaf = own.begin; leaf < own.end; ++leaf) {
    comparison.keys(leaf, facts, as_keys);
    add_in_place(context, gradient_of(leaf), as_keys);
  }
  return result;
}

}  // namespace tsugi
