// The local search of a fit: BFGS (NLopt's SLSQP, which without constraints is dense BFGS; Kraft 1988) in coordinates
// in which the objective is nearly round. On published sweeps it ends lower and agrees more often than NLopt's L-BFGS.
#pragma once

#include <span>

#include "core/scaling/fit/objective.h"

namespace tsugi {

struct Minimum {
  Theta theta{};
  double value = 0.0;
  int evaluations = 0;
};

/// Minimises objective.value(θ, weights) from `start` over the parameters that are not `fixed` (bit i: θ_i stays).
/// Every round scales by the Cholesky factor of the curvature where it stands (the raw problem has condition numbers of
/// 1e11), runs BFGS, and begins anew until a round gains less than 1e-12 of the value.
Minimum minimize(const FitObjective& objective, std::span<const double> weights, const Theta& start, unsigned fixed);

}  // namespace tsugi
