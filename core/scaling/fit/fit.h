// A law fitted to runs: many local searches from projected starts, the best kept, their agreement told.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/scaling/data/run_table.h"
#include "core/scaling/fit/objective.h"
#include "core/scaling/laws/law.h"
#include "ops/base/thread_pool.h"

namespace tsugi {

struct FitOptions {
  ObjectiveOptions objective;
  /// Local searches; at least 1.
  int starts = 64;
  /// Public parameters that stay at a value: {"E", 1.69}.
  std::vector<std::pair<std::string, double>> fixed;
};

struct Fit {
  const Law* law = nullptr;
  FitOptions options;
  Theta theta{};  ///< working parameters
  /// Other local minima within 5 % of the objective, at most three: resampled runs may prefer one of them.
  std::vector<Theta> valleys;
  unsigned fixed = 0;      ///< bit i: parameter i was fixed
  double objective = 0.0;  ///< summed over the runs
  int starts = 0;
  int agreeing = 0;               ///< starts that ended within 1e-6 (relative) of the best objective
  double gradient = 0.0;          ///< largest |gradient| by θ at the end, divided by the objective
  double condition = 0.0;         ///< of the curvature by the free θ: how flat the flattest valley is
  std::vector<double> residuals;  ///< ln L - ln L_measured of each fitted run
  std::vector<std::string> warnings;

  int free_parameters() const;
  double parameter(int index) const { return law->to_public(index, theta[static_cast<size_t>(index)]); }
  /// Predicted loss of a run of which the law's inputs are known.
  double predict(const SweepRun& run) const;
};

/// Throws Error(kData) when the runs cannot determine the law: inputs missing, fewer runs than free parameters plus
/// one, or an input that has the same value in all runs (what to add stands in the hint). The result does not depend on
/// the number of threads.
Fit fit_law(const Law& law, std::span<const SweepRun> runs, const FitOptions& options, ThreadPool& pool);

/// Throws Error(kData), with what to add, for a law that says nothing: a constant that is not finite (or beyond 1e100),
/// an exponent below 1e-3, by which loss does not fall with its input. R_D and R_N may be without bound. Fixed
/// parameters are taken as they are.
void require_meaning(const Fit& fit);

/// Mean and largest |L_predicted/L - 1| over runs.
struct RelativeError {
  double mean = 0.0;
  double largest = 0.0;
  double bias = 0.0;  ///< mean of L_predicted/L - 1
  int64_t runs = 0;
};
RelativeError relative_error(const Fit& fit, std::span<const SweepRun> runs);

/// 1 - Σ(L - L_predicted)²/Σ(L - mean L)².
double r_squared(const Fit& fit, std::span<const SweepRun> runs);

}  // namespace tsugi
