// Losses between features of a global batch that is spread over micro-batches and ranks.
//
// Every row is compared with the rows of all micro-batches, wherever they are, and its gradient has both parts: as a
// query of its own row, and as a key of everybody else's. (Programs that gather features without their gradient have
// the right loss and a gradient that is wrong by a sixth on two ranks.)
//
// The features of all micro-batches are made first and gathered; then come losses and gradients of features,
// micro-batch by micro-batch; then each micro-batch goes through the model once more, with its gradient at the end
// (GradCache: Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", 2021,
// section 3.2). Features and a few numbers per row travel, nothing else: the key's gradient is not formed where the
// queries are and sent, but formed where the key is, from all queries, which are there already. So each micro-batch's
// gradient is one sum in one order, whatever the number of ranks, and the gradients of parameters add up in the usual
// tree.
#pragma once

#include <functional>

#include "core/objective/objective.h"
#include "dist/tree_reduction.h"
#include "ops/info_nce/info_nce.h"

namespace tsugi {

/// Fills in what the other ranks have: `features` f32 [M, rows, D] in memory that the communicator sends from, of
/// which this rank has written its own leaves (leaves_of_rank). Collective.
void gather_leaves(Communicator& communicator, const Tensor& features);

/// A loss whose queries and keys are the rows of all micro-batches.
struct LeafComparison {
  int64_t facts = 1;  ///< numbers that each row tells all keys
  /// Losses of the rows of micro-batch `leaf`: what they tell (f64 [rows, facts]) and their gradients as queries (f32
  /// [rows, D]) are written.
  std::function<InfoNceSum(int64_t leaf, const Tensor& facts, const Tensor& d_queries)> queries;
  /// The gradient of the rows of micro-batch `leaf` as keys (f32 [rows, D], written), from what all rows tell (f64
  /// [M·rows, facts]).
  std::function<void(int64_t leaf, const Tensor& facts, const Tensor& d_keys)> keys;
};

/// `features` f32 [M, rows, D], gathered. Collective: the facts are gathered on the way.
FeatureLoss compare_leaves(const Context& context, Communicator& communicator, const Tensor& features,
                           const LeafComparison& comparison);

}  // namespace tsugi
