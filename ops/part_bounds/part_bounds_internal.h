// Entry points of the backends of this room.
#pragma once

#include "ops/part_bounds/part_bounds.h"

namespace tsugi::cpu {

/// Rows [first, first + r) of the wholes. `scores` f32 [r, K] = wholes·partsᵀ; becomes, with `gradient`, ∂loss/∂(w·p).
/// losses f64 [≥ r] and nearest i32 [≥ r] receive a value per row, facts f64 [R, kPartFacts] those of the rows.
void part_rows(const Context& context, const PartScores& problem, int64_t first, bool gradient, const Tensor& scores,
               const Tensor& losses, const Tensor& nearest, const Tensor& facts);

/// Parts [first, first + n): `scores` f32 [n, R] = parts·wholesᵀ becomes ∂loss/∂(w·p), transposed.
void part_columns(const Context& context, const PartScores& problem, int64_t first, const Tensor& facts,
                  const Tensor& scores);

}  // namespace tsugi::cpu
