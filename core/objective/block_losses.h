// InfoNCE between blocks of features: losses in which rows of one kind look for rows of another.
//
// A micro-batch of B samples has S blocks of B rows each, a row per sample in the same order: pictures and captions,
// patches and predictions of them. A pair of blocks is a classification: each row of the first looks for the row of its
// own sample in the second, among those of all samples of the global batch.
#pragma once

#include <span>

#include "core/objective/leaf_comparison.h"

namespace tsugi {

struct BlockPair {
  int64_t queries = 0;
  int64_t keys = 0;
};

/// Rows of all micro-batches, block by block: features f32 [M, S·B, D] → [S, M·B, D].
Tensor by_block(const Context& context, const Tensor& features, int64_t blocks);

/// `features` f32 [M, S·B, D], gathered, whose products are scores. A block is the queries of at most one pair.
/// `groups`: of the M·B samples, ≥ 0; samples of one group are not each other's negatives. Empty in a dry run.
/// Collective.
FeatureLoss contrast_blocks(const Context& context, Communicator& communicator, const Tensor& features, int64_t blocks,
                            std::span<const BlockPair> pairs, std::span<const int32_t> groups);

}  // namespace tsugi
