#include "core/scaling/fit/minimize.h"

#include <glog/logging.h>
#include <nlopt.h>

#include <cmath>
#include <memory>

namespace tsugi {
namespace {

/// θ = origin + T φ over the free parameters, T = L^-T of the curvature's factor; the value divided by `scale`.
struct Round {
  const FitObjective& objective;
  std::span<const double> weights;
  std::array<int, kMaxParameters> free{};
  int free_count = 0;
  Theta origin{};
  SmallMatrix lower{};
  double scale = 1.0;
  Minimum best{};

  Theta theta_at(const double* phi) const {
    std::array<double, kMaxParameters> step{};
    std::copy(phi, phi + free_count, step.begin());
    solve_transposed(lower, free_count, step);
    Theta theta = origin;
    for (int i = 0; i < free_count; ++i) theta[free[i]] += step[i];
    return theta;
  }

  double evaluate(const double* phi, double* gradient) {
    const Theta theta = theta_at(phi);
    Theta full{};
    double value = objective.value(theta.data(), weights, full.data());
    ++best.evaluations;
    if (!std::isfinite(value)) value = 1e300;
    if (value < best.value) {
      best.value = value;
      best.theta = theta;
    }
    if (gradient != nullptr) {
      std::array<double, kMaxParameters> reduced{};
      for (int i = 0; i < free_count; ++i) {
        reduced[i] = std::isfinite(full[free[i]]) ? full[free[i]] : 0.0;
      }
      solve_lower(lower, free_count, reduced);
      for (int i = 0; i < free_count; ++i) gradient[i] = reduced[i] / scale;
    }
    return value / scale;
  }

  static double callback(unsigned /*count*/, const double* phi, double* gradient, void* round) {
    return static_cast<Round*>(round)->evaluate(phi, gradient);
  }
};

struct DestroyNlopt {
  void operator()(nlopt_opt_s* optimizer) const { nlopt_destroy(optimizer); }
};

}  // namespace

Minimum minimize(const FitObjective& objective, std::span<const double> weights, const Theta& start, unsigned fixed) {
  constexpr int kRounds = 12, kEvaluations = 300;
  Round round{objective, weights};
  for (int i = 0; i < objective.law().parameters; ++i) {
    if ((fixed >> i & 1u) == 0) round.free[round.free_count++] = i;
  }
  round.best.theta = start;
  round.best.value = objective.value(start.data(), weights, nullptr);
  if (round.free_count == 0 || !std::isfinite(round.best.value)) return round.best;
  const std::unique_ptr<nlopt_opt_s, DestroyNlopt> optimizer(
      nlopt_create(NLOPT_LD_SLSQP, static_cast<unsigned>(round.free_count)));
  CHECK(optimizer != nullptr);
  nlopt_set_min_objective(optimizer.get(), &Round::callback, &round);
  nlopt_set_maxeval(optimizer.get(), kEvaluations);
  nlopt_set_ftol_rel(optimizer.get(), 1e-15);
  for (int k = 0; k < kRounds && round.best.value > 1e-28; ++k) {
    const double before = round.best.value;
    round.origin = round.best.theta;
    round.scale = before;
    const SmallMatrix curvature = objective.curvature(round.origin.data(), weights);
    double ridge = 1e-10;
    do {  // directions without curvature get a little, so that they can be searched at all
      double trace = 0.0;
      for (int i = 0; i < round.free_count; ++i) trace += curvature[round.free[i]][round.free[i]];
      for (int i = 0; i < round.free_count; ++i) {
        for (int j = 0; j < round.free_count; ++j)
          round.lower[i][j] = curvature[round.free[i]][round.free[j]] / round.scale;
        round.lower[i][i] = round.lower[i][i] * (1.0 + ridge) + (ridge * trace / round.scale + 1e-12) * 1e-2;
      }
      ridge *= 100.0;
    } while (!cholesky(round.lower, round.free_count) && ridge < 1.0);
    std::array<double, kMaxParameters> phi{};
    double value = 0.0;
    nlopt_optimize(optimizer.get(), phi.data(), &value);  // whatever it says, the best point seen is kept
    if (!(before - round.best.value > 1e-12 * before)) break;
  }
  return round.best;
}

}  // namespace tsugi
