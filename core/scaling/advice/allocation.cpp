#include "core/scaling/advice/allocation.h"

#include <algorithm>
#include <cmath>

#include "ops/base/error.h"

namespace tsugi {
namespace {

/// ln L at ln N on the isoFLOP line of C.
double on_budget(const Law& law, const Theta& theta, double c, double unique, const ComputeCost& cost, double log_n) {
  RunPoint point;
  point.log_n = log_n;
  point.log_d = std::log(cost.tokens(c, std::exp(log_n)));
  point.log_c = std::log(c);
  point.log_unique = std::isnan(unique) ? point.log_d : std::log(unique);
  return law.log_loss(theta.data(), point, nullptr);
}

/// Where the rising side of a valley crosses a height, from `inside` (below it) to `outside`.
double crossing(const std::function<double(double)>& height, double inside, double outside, double level) {
  if (height(outside) < level) return outside;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (inside + outside);
    (height(middle) <= level ? inside : outside) = middle;
  }
  return 0.5 * (inside + outside);
}

}  // namespace

Allocation allocate(const Law& law, const Theta& theta, double c, double unique, const ComputeCost& cost) {
  if ((law.inputs & (kInputN | kInputD)) != (kInputN | kInputD)) {
    throw Error(ExitCode::kUsage, std::string("form ") + law.name + " does not say how loss depends on both n and d",
                "advice for a budget needs --form chinchilla, kaplan, kaplan_irreducible, data_constrained or isoflop");
  }
  // From one parameter to one token; golden-section search after a scan, for the laws are unimodal but for noise.
  const double low = 0.0, high = std::log(cost.parameters(c, 1.0));
  const auto height = [&](double log_n) { return on_budget(law, theta, c, unique, cost, log_n); };
  constexpr int kScan = 200;
  double best = low, best_height = height(low);
  for (int i = 1; i <= kScan; ++i) {
    const double log_n = low + (high - low) * i / kScan;
    const double one = height(log_n);
    if (one < best_height) {
      best = log_n;
      best_height = one;
    }
  }
  double left = std::max(low, best - (high - low) / kScan), right = std::min(high, best + (high - low) / kScan);
  const double golden = 0.5 * (std::sqrt(5.0) - 1.0);
  double inner_left = right - golden * (right - left), inner_right = left + golden * (right - left);
  double height_left = height(inner_left), height_right = height(inner_right);
  while (right - left > 1e-9) {
    if (height_left < height_right) {
      right = inner_right;
      inner_right = inner_left;
      height_right = height_left;
      inner_left = right - golden * (right - left);
      height_left = height(inner_left);
    } else {
      left = inner_left;
      inner_left = inner_right;
      height_left = height_right;
      inner_right = left + golden * (right - left);
      height_right = height(inner_right);
    }
  }
  best = 0.5 * (left + right);
  Allocation result;
  result.c = c;
  result.n = std::exp(best);
  result.d = cost.tokens(c, result.n);
  const double log_loss = height(best);
  result.loss = std::exp(log_loss);
  const auto within = [&](double factor) {
    const double level = log_loss + std::log(factor);
    return Interval{std::exp(crossing(height, best, low, level)), std::exp(crossing(height, best, high, level))};
  };
  result.n_within_tenth_percent = within(1.001);
  result.n_within_percent = within(1.01);
  return result;
}

double parameter_exponent(const Law& law, const Theta& theta, double c, const ComputeCost& cost) {
  constexpr double kStep = 1.1;
  const double above = allocate(law, theta, c * kStep, RunPoint::kUnknown, cost).n;
  const double below = allocate(law, theta, c / kStep, RunPoint::kUnknown, cost).n;
  return std::log(above / below) / (2.0 * std::log(kStep));
}

Advice advise(const SweepFit& fit, double c, double largest_fitted_c, double unique, const ComputeCost& cost) {
  const Law& law = *fit.fit.law;
  Advice advice;
  advice.best = allocate(law, fit.fit.theta, c, unique, cost);
  std::vector<double> n, d, ratio;
  for (const Theta& theta : fit.bootstrap.samples) {
    const Allocation one = allocate(law, theta, c, unique, cost);
    n.push_back(one.n);
    d.push_back(one.d);
    ratio.push_back(one.d / one.n);
  }
  advice.n = percentile_interval(std::move(n), fit.level);
  advice.d = percentile_interval(std::move(d), fit.level);
  advice.tokens_per_parameter = percentile_interval(std::move(ratio), fit.level);
  SweepRun run;
  run.n = advice.best.n;
  run.d = advice.best.d;
  run.c = c;
  run.unique = std::isnan(unique) ? run.d : unique;
  advice.loss = predict_loss(fit, run).interval;
  advice.extrapolation = c / largest_fitted_c;
  return advice;
}

}  // namespace tsugi
