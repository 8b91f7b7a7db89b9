// What a fit minimises: the sum (never the mean, whose default stopping rules end too early: Besiroglu et al. 2024,
// "Chinchilla scaling: a replication attempt") of Huber's loss of the residuals of all runs.
#pragma once

#include <span>
#include <vector>

#include "core/scaling/data/run_table.h"
#include "core/scaling/fit/small_matrix.h"
#include "core/scaling/laws/law.h"

namespace tsugi {

struct ObjectiveOptions {
  /// Huber's threshold: r²/2 within, delta·(|r| - delta/2) beyond. Infinity: least squares.
  double delta = 1e-3;
  /// Residuals are ln L - ln L_measured, or, when true, L - L_measured.
  bool raw_loss = false;
};

class FitObjective {
 public:
  FitObjective(const Law& law, std::span<const SweepRun> runs, const ObjectiveOptions& options);

  const Law& law() const { return *law_; }
  const ObjectiveOptions& options() const { return options_; }
  size_t runs() const { return points_.size(); }
  const RunPoint& point(size_t run) const { return points_[run]; }

  /// Prediction minus measurement of one run; the gradient by θ if asked for.
  double residual(size_t run, const double* theta, double* gradient) const;
  /// Σ weight · huber(residual), in the order of the runs; `weights` empty means 1. Not finite where θ is absurd.
  double value(const double* theta, std::span<const double> weights, double* gradient) const;
  /// Σ weight · w(r) g gᵀ with the robust weights w = min(1, delta/|r|): the scale of a step.
  SmallMatrix curvature(const double* theta, std::span<const double> weights) const;

 private:
  const Law* law_;
  ObjectiveOptions options_;
  std::vector<RunPoint> points_;
};

}  // namespace tsugi
