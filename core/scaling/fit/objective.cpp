#include "core/scaling/fit/objective.h"

#include <cmath>

namespace tsugi {

FitObjective::FitObjective(const Law& law, std::span<const SweepRun> runs, const ObjectiveOptions& options)
    : law_(&law), options_(options) {
  points_.reserve(runs.size());
  for (const SweepRun& run : runs) points_.push_back(run.point());
}

double FitObjective::residual(size_t run, const double* theta, double* gradient) const {
  const RunPoint& point = points_[run];
  const double log_loss = law_->log_loss(theta, point, gradient);
  if (!options_.raw_loss) return log_loss - point.log_loss;
  const double loss = std::exp(log_loss);
  if (gradient != nullptr) {
    for (int k = 0; k < law_->parameters; ++k) gradient[k] *= loss;
  }
  return loss - std::exp(point.log_loss);
}

double FitObjective::value(const double* theta, std::span<const double> weights, double* gradient) const {
  const int count = law_->parameters;
  const double delta = options_.delta;
  double sum = 0.0;
  double one[kMaxParameters] = {};
  if (gradient != nullptr) std::fill(gradient, gradient + count, 0.0);
  for (size_t i = 0; i < points_.size(); ++i) {
    const double weight = weights.empty() ? 1.0 : weights[i];
    if (weight == 0.0) continue;
    const double r = residual(i, theta, gradient != nullptr ? one : nullptr);
    const double size = std::abs(r);
    sum += weight * (size <= delta ? 0.5 * r * r : delta * (size - 0.5 * delta));
    if (gradient == nullptr) continue;
    const double slope = weight * (size <= delta ? r : std::copysign(delta, r));
    for (int k = 0; k < count; ++k) gradient[k] += slope * one[k];
  }
  return sum;
}

SmallMatrix FitObjective::curvature(const double* theta, std::span<const double> weights) const {
  SmallMatrix matrix{};
  double one[kMaxParameters] = {};
  for (size_t i = 0; i < points_.size(); ++i) {
    const double size = std::abs(residual(i, theta, one));
    const double weight = (weights.empty() ? 1.0 : weights[i]) * (size <= options_.delta ? 1.0 : options_.delta / size);
    for (int k = 0; k < law_->parameters; ++k) {
      for (int l = 0; l <= k; ++l) matrix[k][l] += weight * one[k] * one[l];
    }
  }
  for (int k = 0; k < law_->parameters; ++k) {
    for (int l = 0; l < k; ++l) matrix[l][k] = matrix[k][l];
  }
  return matrix;
}

}  // namespace tsugi
