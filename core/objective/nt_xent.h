// NT-Xent over a global batch that is spread over micro-batches and ranks (SimCLR: Chen et al., "A simple framework for
// contrastive learning of visual representations", 2020, equation 1).
//
// Every view is compared with the views of all images of the step, wherever they are, and its gradient has both parts:
// as a query of its own row, and as a key of everybody else's. (Programs that gather features without their gradient
// have the right loss and a gradient that is wrong by a sixth on two ranks.)
//
// The features of all micro-batches are made first and gathered; then come losses and gradients of features,
// micro-batch by micro-batch; then each micro-batch goes through the model once more, with its gradient at the end
// (GradCache: Gao et al., "Scaling deep contrastive learning batch size under memory limited setup", 2021,
// section 3.2). Features and one number per row travel, nothing else: the key's gradient is not formed where the
// queries are and sent, but formed where the key is, from all queries, which are there already. So each micro-batch's
// gradient is one sum in one order, whatever the number of ranks, and the gradients of parameters add up in the usual
// tree.
#pragma once

#include "core/objective/objective.h"
#include "dist/tree_reduction.h"
#include "ops/info_nce/info_nce.h"

namespace tsugi {

/// Fills in what the other ranks have: `features` f32 [M, rows, D] in host memory, of which this rank has written its
/// own leaves (leaves_of_rank). Collective.
void gather_leaves(Communicator& communicator, const Tensor& features);

/// `features` as above, gathered, rows of length 1: rows [0, rows / 2) of a micro-batch are the first views of its
/// images, the others the second ones in the same order. Collective: `log_sums` f64 [M, rows] are gathered on the way.
FeatureLoss nt_xent(const Context& context, Communicator& communicator, const Tensor& features, float temperature);

/// The same within one micro-batch, [rows, D]; `gradient` f32 of that shape, where defined, is written.
InfoNceSum nt_xent(const Context& context, const Tensor& features, float temperature, const Tensor& gradient);

}  // namespace tsugi
