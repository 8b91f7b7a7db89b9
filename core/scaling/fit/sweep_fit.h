// From a table of runs to a law with intervals: what commands and reports call.
#pragma once

#include "core/scaling/fit/bootstrap.h"
#include "core/scaling/fit/fit.h"
#include "core/scaling/fit/profile.h"

namespace tsugi {

struct SweepFitOptions {
  FitOptions fit;
  int bootstraps = 1000;
  uint64_t seed = 0;
  double level = 0.95;
  bool profiles = true;
};

/// Intervals stand by parameter index and are public values; those of fixed parameters are NaN.
struct SweepFit {
  Fit fit;
  Bootstrap bootstrap;
  double level = 0.95;
  std::array<Interval, kMaxParameters> interval{};  ///< bootstrap percentiles
  std::array<Interval, kMaxParameters> profile{};   ///< NaN unless asked for; always at 95 %

  /// Interval of any quantity of the parameters (working values).
  Interval interval_of(const std::function<double(const Theta&)>& quantity) const {
    return bootstrap_interval(bootstrap, quantity, level);
  }
};

/// Fits the runs of the table that are not held out. Errors as fit_law() and require_meaning(); warnings
/// also as edge_warnings().
SweepFit fit_sweep(const Law& law, const RunTable& table, const SweepFitOptions& options, ThreadPool& pool);

/// A predicted loss with the interval in which a new run's loss will lie.
struct Prediction {
  double loss = 0.0;
  Interval interval;
};
Prediction predict_loss(const SweepFit& fit, const SweepRun& run);

}  // namespace tsugi
