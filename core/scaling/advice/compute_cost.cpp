#include "core/scaling/advice/compute_cost.h"

#include <algorithm>
#include <cmath>

namespace tsugi {

double ComputeCost::flops(double n, double d) const { return coefficient * std::pow(n, exponent) * d; }
double ComputeCost::tokens(double c, double n) const { return c / (coefficient * std::pow(n, exponent)); }
double ComputeCost::parameters(double c, double d) const { return std::pow(c / (coefficient * d), 1.0 / exponent); }

ComputeCost compute_cost_of(std::span<const SweepRun> runs) {
  constexpr double kRuleOfThumb = 0.01;
  double count = 0.0, sum_x = 0.0, sum_y = 0.0, sum_xx = 0.0, sum_xy = 0.0, from_rule = 0.0;
  const auto each = [&](const auto& visit) {
    for (const SweepRun& run : runs) {
      if (std::isfinite(run.n) && std::isfinite(run.d) && std::isfinite(run.c)) visit(run);
    }
  };
  each([&](const SweepRun& run) {
    const double x = std::log(run.n), y = std::log(run.c / run.d);
    count += 1.0;
    sum_x += x;
    sum_y += y;
    from_rule = std::max(from_rule, std::abs(run.c / ComputeCost{}.flops(run.n, run.d) - 1.0));
  });
  ComputeCost cost;
  if (count == 0.0 || from_rule <= kRuleOfThumb) {
    cost.worst = from_rule;
    return cost;
  }
  const double mean_x = sum_x / count, mean_y = sum_y / count;
  each([&](const SweepRun& run) {
    const double x = std::log(run.n) - mean_x;
    sum_xx += x * x;
    sum_xy += x * (std::log(run.c / run.d) - mean_y);
  });
  // Sizes that are all alike say nothing of the exponent.
  if (sum_xx > 1e-6 * count) cost.exponent = sum_xy / sum_xx;
  if (!(cost.exponent > 0.0)) cost.exponent = 1.0;
  cost.coefficient = std::exp(mean_y - cost.exponent * mean_x);
  each([&](const SweepRun& run) {
    cost.worst = std::max(cost.worst, std::abs(run.c / cost.flops(run.n, run.d) - 1.0));
  });
  return cost;
}

}  // namespace tsugi
