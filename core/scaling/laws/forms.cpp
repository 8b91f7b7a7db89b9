#include "core/scaling/laws/forms.h"

#include <algorithm>
#include <cmath>

namespace tsugi {
namespace {

/// ln(Σ exp(t_i)) and the shares exp(t_i)/Σ, which are its derivatives.
template <size_t kTerms>
struct LogSumExp {
  explicit LogSumExp(const std::array<double, kTerms>& terms) {
    const double largest = *std::max_element(terms.begin(), terms.end());
    double sum = 0.0;
    for (size_t i = 0; i < kTerms; ++i) {
      share[i] = std::exp(terms[i] - largest);
      sum += share[i];
    }
    for (double& one : share) one /= sum;
    value = largest + std::log(sum);
  }
  double value;
  std::array<double, kTerms> share;
};

/// (X_c/X)^alpha with θ = (ln X_c, ln alpha).
double kaplan_power(const double* theta, double log_x, double* gradient) {
  const double alpha = std::exp(theta[1]);
  const double value = alpha * (theta[0] - log_x);
  if (gradient != nullptr) {
    gradient[0] = alpha;
    gradient[1] = value;
  }
  return value;
}

/// E + A/X^alpha with θ = (ln E, ln A, alpha).
double power_with_irreducible(const double* theta, double log_x, double* gradient) {
  const LogSumExp<2> sum({theta[0], theta[1] - theta[2] * log_x});
  if (gradient != nullptr) {
    gradient[0] = sum.share[0];
    gradient[1] = sum.share[1];
    gradient[2] = -log_x * sum.share[1];
  }
  return sum.value;
}

}  // namespace

double chinchilla_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  const LogSumExp<3> sum({theta[0], theta[1] - theta[3] * point.log_n, theta[2] - theta[4] * point.log_d});
  if (gradient != nullptr) {
    gradient[0] = sum.share[0];
    gradient[1] = sum.share[1];
    gradient[2] = sum.share[2];
    gradient[3] = -point.log_n * sum.share[1];
    gradient[4] = -point.log_d * sum.share[2];
  }
  return sum.value;
}

double kaplan_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  const double alpha_d = std::exp(theta[3]);
  const double ratio = std::exp(theta[2] - theta[3]);
  const double first = ratio * (theta[0] - point.log_n);
  const LogSumExp<2> sum({first, theta[1] - point.log_d});
  if (gradient != nullptr) {
    gradient[0] = alpha_d * sum.share[0] * ratio;
    gradient[1] = alpha_d * sum.share[1];
    gradient[2] = alpha_d * sum.share[0] * first;
    gradient[3] = alpha_d * (sum.value - sum.share[0] * first);
  }
  return alpha_d * sum.value;
}

double kaplan_irreducible_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  const double reducible = kaplan_log_loss(theta, point, gradient);
  const LogSumExp<2> sum({reducible, theta[4]});
  if (gradient != nullptr) {
    for (int i = 0; i < 4; ++i) gradient[i] *= sum.share[0];
    gradient[4] = sum.share[1];
  }
  return sum.value;
}

double log_optimal_parameters(double log_a, double log_b, double alpha, double beta, double log_unique) {
  const double log_g = (std::log(alpha) + log_a - std::log(beta) - log_b) / (alpha + beta);
  return log_g + beta / alpha * (log_g + log_unique);
}

double data_constrained_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  const double log_a = theta[1], log_b = theta[2];
  const double alpha = std::exp(theta[3]), beta = std::exp(theta[4]);
  const double r_d = std::exp(theta[5]), r_n = std::exp(theta[6]);

  // Tokens: U_D = min(D, unique), R_D = D/U_D - 1, D' = U_D (1 + R*_D (1 - exp(-R_D/R*_D))).
  const double log_u = std::min(point.log_d, point.log_unique);
  const double repeats = std::expm1(point.log_d - log_u);
  const double gain_d = -std::expm1(-repeats / r_d);
  const double log_d_effective = log_u + std::log1p(r_d * gain_d);

  // Parameters: U_N = min(N, N*(U_D)), and the same decay of what is in excess.
  const double log_g = (theta[3] + log_a - theta[4] - log_b) / (alpha + beta);
  const double log_n_star = log_g + beta / alpha * (log_g + log_u);
  const bool excess = point.log_n > log_n_star;
  const double surplus = excess ? std::expm1(point.log_n - log_n_star) : 0.0;
  const double gain_n = -std::expm1(-surplus / r_n);
  const double log_n_effective = (excess ? log_n_star : point.log_n) + std::log1p(r_n * gain_n);

  const LogSumExp<3> sum({theta[0], log_a - alpha * log_n_effective, log_b - beta * log_d_effective});
  if (gradient != nullptr) {
    const double by_n = -alpha * sum.share[1];
    const double by_d = -beta * sum.share[2];
    gradient[0] = sum.share[0];
    gradient[1] = sum.share[1];
    gradient[2] = sum.share[2];
    gradient[3] = by_n * log_n_effective;
    gradient[4] = by_d * log_d_effective;
    gradient[5] = by_d * (r_d * gain_d - (1.0 - gain_d) * repeats) / (1.0 + r_d * gain_d);
    gradient[6] = by_n * (r_n * gain_n - (1.0 - gain_n) * surplus) / (1.0 + r_n * gain_n);
    if (excess) {
      const double by_star = by_n * (1.0 - (1.0 - gain_n) * (surplus + 1.0) / (1.0 + r_n * gain_n));
      gradient[1] += by_star / alpha;
      gradient[2] -= by_star / alpha;
      gradient[3] += by_star * ((1.0 - alpha * log_g) / alpha - beta / alpha * (log_g + log_u));
      gradient[4] += by_star * (beta * log_u - 1.0) / alpha;
    }
  }
  return sum.value;
}

double kaplan_steps_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  const double alpha_n = std::exp(theta[2]), alpha_s = std::exp(theta[3]), alpha_b = std::exp(theta[5]);
  // ln(B_crit/B), and ln S_min = ln S - ln(1 + B_crit/B).
  const double excess = theta[4] - point.log_loss / alpha_b - point.log_batch;
  const double softplus = excess > 0.0 ? excess + std::log1p(std::exp(-excess)) : std::log1p(std::exp(excess));
  const double log_s_min = point.log_steps - softplus;
  const double first = alpha_n * (theta[0] - point.log_n);
  const double second = alpha_s * (theta[1] - log_s_min);
  const LogSumExp<2> sum({first, second});
  if (gradient != nullptr) {
    const double by_softplus = sum.share[1] * alpha_s / (1.0 + std::exp(-excess));
    gradient[0] = sum.share[0] * alpha_n;
    gradient[1] = sum.share[1] * alpha_s;
    gradient[2] = sum.share[0] * first;
    gradient[3] = sum.share[1] * second;
    gradient[4] = by_softplus;
    gradient[5] = by_softplus * point.log_loss / alpha_b;
  }
  return sum.value;
}

double kaplan_n_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return kaplan_power(theta, point.log_n, gradient);
}
double kaplan_d_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return kaplan_power(theta, point.log_d, gradient);
}
double kaplan_c_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return kaplan_power(theta, point.log_c, gradient);
}
double power_n_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return power_with_irreducible(theta, point.log_n, gradient);
}
double power_d_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return power_with_irreducible(theta, point.log_d, gradient);
}
double power_c_log_loss(const double* theta, const RunPoint& point, double* gradient) {
  return power_with_irreducible(theta, point.log_c, gradient);
}

}  // namespace tsugi
