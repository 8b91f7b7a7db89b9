#include <algorithm>
#include <cmath>

#include "ops/optimizer_step/optimizer_step.h"

namespace tsugi::reference {

void adamw_element(const AdamWStep& step, double learning_rate_scale, double weight_decay, double gradient,
                   double& master, double& exp_avg, double& exp_avg_sq) {
  const double beta1 = step.beta1;
  const double beta2 = step.beta2;
  const double t = static_cast<double>(step.step);
  const double learning_rate = step.learning_rate * learning_rate_scale;
  const double g = gradient * step.gradient_scale;
  exp_avg = beta1 * exp_avg + (1.0 - beta1) * g;
  exp_avg_sq = beta2 * exp_avg_sq + (1.0 - beta2) * g * g;
  const double m_hat = exp_avg / (1.0 - std::pow(beta1, t));
  const double v_hat = exp_avg_sq / (1.0 - std::pow(beta2, t));
  master -= learning_rate * weight_decay * master;
  master -= learning_rate * m_hat / (std::sqrt(v_hat) + step.epsilon);
}

StepDecision decide_step(std::span<const double> numbers, std::span<const int32_t> rank_places,
                         std::span<const int32_t> leaf_places, std::span<const int32_t> chunk_places, float clip_norm) {
  const auto number = [&](int32_t place) { return numbers[static_cast<size_t>(place)]; };
  StepDecision decided;
  for (const int32_t place : rank_places) {
    if (number(place) != 0.0) decided.stop = 1.0;
    if (number(place + 1) == 0.0) decided.ready = 0.0;
  }
  double loss = 0.0;
  for (const int32_t place : leaf_places) {
    loss += number(place);
    decided.targets += number(place + 1);
  }
  double squares = 0.0;
  for (const int32_t place : chunk_places) squares += number(place);
  const double targets = std::max(decided.targets, 1.0);
  decided.loss = loss / targets;
  decided.gradient_norm = std::sqrt(squares) / targets;
  decided.finite = std::isfinite(decided.loss) && std::isfinite(decided.gradient_norm) ? 1.0 : 0.0;
  decided.gradient_scale = 1.0 / targets;
  const auto limit = static_cast<double>(clip_norm);
  if (limit > 0.0 && decided.gradient_norm > limit) decided.gradient_scale *= limit / decided.gradient_norm;
  return decided;
}

}  // namespace tsugi::reference
