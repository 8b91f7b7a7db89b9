// Entry points of the backends of this room.
#pragma once

#include "ops/score_bounds/score_bounds.h"

namespace tsugi::cpu {

/// row_sums f64 [N]: workspace.
double score_bound(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& d_scores,
                   ScoreAverage* average, const Tensor& row_sums);

}  // namespace tsugi::cpu
