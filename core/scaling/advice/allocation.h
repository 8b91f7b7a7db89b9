// How to spend a compute budget under a law of n and d.
#pragma once

#include "core/scaling/advice/compute_cost.h"
#include "core/scaling/fit/sweep_fit.h"

namespace tsugi {

/// The best run of a budget.
struct Allocation {
  double c = 0.0;
  double n = 0.0;
  double d = 0.0;
  double loss = 0.0;
  /// Sizes of which the loss at this budget is at most 0.1 % and 1 % above the best: how flat the optimum is.
  Interval n_within_tenth_percent;
  Interval n_within_percent;
};

/// Minimises L(N, D) over N with the D that C pays for. `unique`: distinct tokens, for the data-constrained law
/// (unlimited when NaN). Error(kUsage) for a law without both n and d.
Allocation allocate(const Law& law, const Theta& theta, double c, double unique = RunPoint::kUnknown,
                    const ComputeCost& cost = {});

struct Advice {
  Allocation best;
  Interval n;  ///< bootstrap intervals of the optimum
  Interval d;
  Interval tokens_per_parameter;
  Interval loss;               ///< prediction interval of a run at the optimum
  double extrapolation = 0.0;  ///< c over the largest fitted c
};
Advice advise(const SweepFit& fit, double c, double largest_fitted_c, double unique = RunPoint::kUnknown,
              const ComputeCost& cost = {});

/// Exponents of N* ∝ C^a and D* ∝ C^b at a budget (for Chinchilla's law a = beta/(alpha + beta) at every C).
double parameter_exponent(const Law& law, const Theta& theta, double c, const ComputeCost& cost = {});

}  // namespace tsugi
