#include "core/scaling/fit/profile.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/scaling/fit/minimize.h"

namespace tsugi {
namespace {

constexpr double kChiSquared95 = 3.841458820694124;

/// mean(ψ²)/mean(ψ') with ψ the derivative of Huber's loss. mean(ψ') is the share of residuals within delta; where
/// delta is much smaller than the residuals, hardly any are, and their density at zero is taken from a wider window.
double test_scale(const Fit& fit, const FitObjective& objective) {
  const double delta = objective.options().delta;
  std::vector<double> sizes;
  double psi_squared = 0.0;
  for (size_t i = 0; i < objective.runs(); ++i) {
    sizes.push_back(std::abs(objective.residual(i, fit.theta.data(), nullptr)));
    const double psi = std::min(sizes.back(), delta);
    psi_squared += psi * psi;
  }
  const double count = static_cast<double>(sizes.size());
  std::sort(sizes.begin(), sizes.end());
  const double spread = 1.4826 * sizes[sizes.size() / 2];
  const double window = std::max(delta, spread * std::pow(count, -0.2));
  double within = 0.0;
  for (const double size : sizes) within += size <= window ? 1.0 : 0.0;
  const double slope = std::max(within, 1.0) * (std::isinf(window) ? 1.0 : delta / window);
  return psi_squared / slope * count / std::max(1.0, count - fit.free_parameters());
}

}  // namespace

Interval profile_interval(const Fit& fit, std::span<const SweepRun> runs, int parameter) {
  CHECK_EQ(fit.fixed >> parameter & 1u, 0u);
  const FitObjective objective(*fit.law, runs, fit.options.objective);
  const double scale = test_scale(fit, objective);
  const double threshold = fit.objective + 0.5 * scale * kChiSquared95;
  // The first step: the standard error by the curvature, from the inverse's diagonal element.
  const SmallMatrix curvature = objective.curvature(fit.theta.data(), {});
  SmallMatrix lower{};
  std::array<double, kMaxParameters> unit{};
  int free_count = 0;
  for (int i = 0; i < fit.law->parameters; ++i) {
    if ((fit.fixed >> i & 1u) != 0) continue;
    int column = 0;
    for (int j = 0; j < fit.law->parameters; ++j) {
      if ((fit.fixed >> j & 1u) == 0) lower[free_count][column++] = curvature[i][j];
    }
    unit[free_count] = i == parameter ? 1.0 : 0.0;
    ++free_count;
  }
  for (int i = 0; i < free_count; ++i) lower[i][i] *= 1.0 + 1e-9;
  double step = 0.05 * std::max(1.0, std::abs(fit.theta[parameter]));
  if (cholesky(lower, free_count)) {
    solve_lower(lower, free_count, unit);
    double variance = 0.0;
    for (int i = 0; i < free_count; ++i) variance += unit[i] * unit[i];
    if (std::isfinite(variance) && variance > 0.0) step = std::min(1.0, std::sqrt(scale * variance));
  }
  if (!(step > 1e-12)) step = 1e-12;

  const auto end = [&](double direction) {
    double inside = 0.0, outside = 0.0;
    double inside_value = fit.objective, outside_value = 0.0;
    Theta near = fit.theta;
    const auto profiled = [&](double distance, Theta& theta) {
      theta[parameter] = fit.theta[parameter] + direction * distance;
      const Minimum minimum = minimize(objective, {}, theta, fit.fixed | 1u << parameter);
      theta = minimum.theta;
      return minimum.value;
    };
    double distance = step;
    for (int doubling = 0;; ++doubling) {
      if (doubling == 11) return direction > 0 ? HUGE_VAL : -HUGE_VAL;
      Theta theta = near;
      const double value = profiled(distance, theta);
      if (!(value <= threshold)) {
        outside = distance;
        outside_value = value;
        break;
      }
      inside = distance;
      inside_value = value;
      near = theta;
      distance *= 2.0;
    }
    for (int round = 0; round < 30 && outside - inside > 1e-4 * outside; ++round) {
      // Between bisection and the secant of the square-root of the rise, which is nearly straight.
      double part = 0.5;
      if (round % 2 == 0) {
        const double low = std::sqrt(std::max(0.0, inside_value - fit.objective));
        const double high = std::sqrt(outside_value - fit.objective);
        const double wanted = std::sqrt(threshold - fit.objective);
        if (std::isfinite(high) && high > low) part = std::clamp((wanted - low) / (high - low), 0.05, 0.95);
      }
      const double middle = inside + part * (outside - inside);
      Theta theta = near;
      const double value = profiled(middle, theta);
      if (value <= threshold) {
        inside = middle;
        inside_value = value;
        near = theta;
      } else {
        outside = middle;
        outside_value = value;
      }
    }
    return fit.theta[parameter] + direction * 0.5 * (inside + outside);
  };
  return {fit.law->to_public(parameter, end(-1.0)), fit.law->to_public(parameter, end(1.0))};
}

}  // namespace tsugi
