// Entry points of the backends of this room.
#pragma once

#include "ops/info_nce/info_nce.h"

namespace tsugi::cpu {

/// Rows [first, first + r) of the queries. `scores` f32 [r, K] = queries·keysᵀ; becomes, with `gradient`, ∂loss/∂(q·k).
/// losses f64 [≥ r] and nearest i32 [≥ r] receive a value per row, log_sums f64 [R] those of the rows.
void info_nce_rows(const Context& context, const InfoNce& problem, int64_t first, bool gradient, const Tensor& scores,
                   const Tensor& losses, const Tensor& nearest, const Tensor& log_sums);

/// Keys [first, first + n): `scores` f32 [n, R] = keys·queriesᵀ becomes ∂loss/∂(q·k), transposed.
void info_nce_columns(const Context& context, const InfoNce& problem, int64_t first, const Tensor& log_sums,
                      const Tensor& scores);

}  // namespace tsugi::cpu
