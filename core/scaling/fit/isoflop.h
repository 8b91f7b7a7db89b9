// Compute-optimal sizes without a parametric law: Hoffmann et al. 2022, approach 1 (the envelope of training curves)
// and approach 2 (isoFLOP parabolas).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/scaling/data/run_table.h"
#include "core/scaling/fit/bootstrap.h"
#include "core/scaling/fit/fit.h"

namespace tsugi {

/// y = coefficient · C^exponent, from a straight line in logarithms.
struct PowerOfCompute {
  double exponent = 0.0;
  double log_coefficient = 0.0;
  double at(double c) const;
};

/// One budget's parabola of L in ln N.
struct IsoflopBudget {
  double c = 0.0;
  int runs = 0;
  int sizes = 0;  ///< distinct n
  double smallest_n = 0.0;
  double largest_n = 0.0;
  int edge = 0;  ///< the lowest loss is that of the smallest (-1) or the largest (1) size
  double n_optimal = 0.0;
  double d_optimal = 0.0;
  double loss_optimal = 0.0;
  Interval n_interval;     ///< of n_optimal, by resampled residuals
  double curvature = 0.0;  ///< d²L/d(ln N)²
  double curvature_error = 0.0;
  bool used = false;
  std::string reason;                 ///< why it is not used, and what to add
  std::vector<std::string> warnings;  ///< used all the same
};

struct IsoflopOptions {
  int bootstraps = 1000;
  uint64_t seed = 0;
  double level = 0.95;
};

/// What approaches 1 and 2 find.
struct ComputeOptimal {
  const char* form = "";
  std::vector<IsoflopBudget> budgets;  ///< approach 2 only
  int64_t points = 0;                  ///< points of the straight lines
  PowerOfCompute n;
  PowerOfCompute d;
  Interval n_exponent;
  Interval d_exponent;
  /// Loss at the optimum, E + A/C^alpha, when there are at least four good budgets (approach 2).
  std::optional<Fit> frontier;
  std::vector<std::string> warnings;

  /// One resampled set of lines (and frontier) each.
  struct Sample {
    PowerOfCompute n, d;
    Theta frontier{};
  };
  std::vector<Sample> samples;
};

/// Every budget of the runs with its parabola, used or not and why. Throws as group_budgets().
std::vector<IsoflopBudget> judge_budgets(std::span<const SweepRun> runs);

/// For laws of N and D, which fit isoFLOP runs without a look at their minima: one warning for all budgets of four or
/// more sizes whose lowest loss is that of the smallest or largest size. The optimum of such runs is extrapolated.
/// Nothing where fewer than half of the runs are in such budgets: grids and ladders.
std::vector<std::string> edge_warnings(std::span<const SweepRun> runs);

/// Approach 2. Per budget the parabola of L in ln N over the distinct sizes; then lines of ln N* and ln D* over ln C.
/// A budget takes part only if it has at least four sizes, a curvature that is above zero (Student's t, 95 %), and its
/// minimum inside the sizes that were run; otherwise it is listed with what to add. Intervals resample the residuals of
/// all parabolas. Throws Error(kData) with fewer than two good budgets.
///
/// A parabola is the second-order expansion of the law: on grids of more than a few times either side of the optimum it
/// is biased where alpha and beta differ, and its exponent where the grids drift off centre.
ComputeOptimal fit_isoflop(std::span<const SweepRun> runs, const IsoflopOptions& options, ThreadPool& pool);

/// Approach 1. Rows of one n (within 0.1 %) are a training curve, or runs of several lengths; between them ln L is
/// linear in ln C. At 1500 log-spaced C the lowest curve gives N*; where the winner is the smallest or largest size
/// that is there, the envelope is not bracketed and the point is left out. Intervals resample the sizes.
ComputeOptimal fit_envelope(std::span<const SweepRun> runs, const IsoflopOptions& options, ThreadPool& pool);

/// The best run of a budget with its intervals; no flatness, for there is no law off the optimum.
struct ComputeOptimalAdvice {
  double c = 0.0, n = 0.0, d = 0.0, loss = RunPoint::kUnknown;
  Interval n_interval, d_interval, loss_interval;
};
ComputeOptimalAdvice advise(const ComputeOptimal& fit, double c, double level = 0.95);

}  // namespace tsugi
