// What contrastive objectives make of two views of every picture: losses over all views of a global batch.
//
// `features` f32 [M, 2·B, D] everywhere, gathered, rows of length 1: rows [0, B) of a micro-batch are the first views
// of its images, the others the second ones in the same order. All are collective and work as leaf_comparison.h says.
#pragma once

#include <span>

#include "core/objective/leaf_comparison.h"
#include "ops/triplet/triplet.h"

namespace tsugi {

/// NT-Xent (SimCLR: Chen et al., "A simple framework for contrastive learning of visual representations", 2020,
/// equation 1): a view finds the other view of its image among those of all images.
FeatureLoss nt_xent(const Context& context, Communicator& communicator, const Tensor& features, float temperature);

/// Khosla et al., "Supervised contrastive learning", 2020, equation 2: a view finds all views of its class, those of
/// its own image among them. `classes`: of the M·B images, in the order of micro-batches; empty in a dry run.
FeatureLoss supervised_contrastive(const Context& context, Communicator& communicator, const Tensor& features,
                                   std::span<const int32_t> classes, float temperature);

/// A view is nearer to the other view of its image than to any view of another one (ops/triplet/triplet.h).
FeatureLoss view_triplets(const Context& context, Communicator& communicator, const Tensor& features, TripletForm form,
                          float margin, float temperature);

}  // namespace tsugi
