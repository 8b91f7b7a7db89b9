// What a backend of this room computes: the facts of rows, and slopes. The bounds themselves are formed of these on the
// host (score_bounds.cpp).
#pragma once

#include "ops/score_bounds/score_bounds.h"

namespace tsugi {

/// Of row i. `others` over j ≠ i: Donsker–Varadhan ln Σ exp(s_ij), NWJ Σ exp(s_ij - 1), JSD Σ (sp(s_ij) - ln 2);
/// InfoNCE over all j: ln Σ exp(s_ij). `own`: s_ii, but JSD ln 2 - sp(-s_ii).
struct ScoreRow {
  double others = 0.0;
  double own = 0.0;
};

namespace cpu {

/// facts f64 [N, 2]: a ScoreRow for each row.
void score_rows(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& facts);
/// levels f64 [N]: what is subtracted from the scores of a row before their exponential (JSD: unused).
void score_slopes(const Context& context, ScoreBound kind, const Tensor& scores, const Tensor& levels,
                  const Tensor& d_scores);

}  // namespace cpu
}  // namespace tsugi
