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

}  // namespace tsugi::reference
