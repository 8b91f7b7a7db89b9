// Wholes and parts among the blocks of features (core/objective/block_losses.h): what stands for a sample is compared
// with the parts of it and of all others of the global batch.
#pragma once

#include <span>

#include "core/objective/leaf_comparison.h"
#include "ops/part_bounds/part_bounds.h"

namespace tsugi {

/// Block `whole`, and blocks [first_part, first_part + parts), each with one part of every sample.
struct PartPair {
  int64_t whole = 0;
  int64_t first_part = 0;
  int64_t parts = 1;
  float weight = 1.0f;
};

/// How scores are made of products, and losses of scores (ops/part_bounds/part_bounds.h).
struct PartLoss {
  PartBound bound = PartBound::kJsd;
  float scale = 1.0f;
  float clip = 0.0f;
  float penalty = 0.0f;
};

/// `features` f32 [M, S·B, D], gathered. A block is the whole of at most one pair. Every row of a whole counts: the
/// mean is over all pairs. Collective.
FeatureLoss contrast_parts(const Context& context, Communicator& communicator, const Tensor& features, int64_t blocks,
                           std::span<const PartPair> pairs, const PartLoss& loss);

}  // namespace tsugi
