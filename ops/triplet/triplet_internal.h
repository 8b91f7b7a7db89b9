// Entry points of the backends of this room.
#pragma once

#include "ops/triplet/triplet.h"

namespace tsugi::cpu {

/// Rows [first, first + r) of the queries. `scores` f32 [r, K] = queries·keysᵀ; becomes, with `gradient`, ∂loss/∂(q·k).
/// losses f64 [≥ r] and nearest i32 [≥ r] receive a value per row, facts f64 [R, 3] those of the rows.
void triplet_rows(const Context& context, const Triplets& problem, int64_t first, bool gradient, const Tensor& scores,
                  const Tensor& losses, const Tensor& nearest, const Tensor& facts);

/// Keys [first, first + n): `scores` f32 [n, R] = keys·queriesᵀ becomes ∂loss/∂(q·k), transposed.
void triplet_columns(const Context& context, const Triplets& problem, int64_t first, const Tensor& facts,
                     const Tensor& scores);

}  // namespace tsugi::cpu
