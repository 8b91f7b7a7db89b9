#include <gtest/gtest.h>

#include <cmath>

#include "core/scaling/laws/law.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

RunPoint point_of(double n, double d, double unique) {
  RunPoint point;
  point.log_n = std::log(n);
  point.log_d = std::log(d);
  point.log_c = std::log(6 * n * d);
  point.log_unique = std::log(unique);
  point.log_steps = std::log(d / 5e5);
  point.log_batch = std::log(5e5);
  point.log_loss = std::log(2.7);
  return point;
}

Theta working(const Law& law, std::initializer_list<double> values) {
  Theta theta{};
  int i = 0;
  for (const double value : values) {
    theta[static_cast<size_t>(i)] = law.to_working(i, value);
    ++i;
  }
  return theta;
}

double loss(const Law& law, const Theta& theta, const RunPoint& point) {
  return std::exp(law.log_loss(theta.data(), point, nullptr));
}

TEST(Laws, EqualTheirFormulas) {
  const double n = 3e8, d = 2e10, unique = 4e9;
  const RunPoint point = point_of(n, d, unique);
  const double relative = 1e-12;
  const auto expect = [&](const char* name, std::initializer_list<double> values, double expected) {
    const Law& law = law_by_name(name);
    EXPECT_NEAR(loss(law, working(law, values), point), expected, relative * expected) << name;
  };
  expect("chinchilla", {1.69, 406.4, 410.7, 0.34, 0.28}, 1.69 + 406.4 / std::pow(n, 0.34) + 410.7 / std::pow(d, 0.28));
  expect("kaplan", {6.4e13, 1.8e13, 0.076, 0.103}, std::pow(std::pow(6.4e13 / n, 0.076 / 0.103) + 1.8e13 / d, 0.103));
  expect("kaplan_irreducible", {6.4e13, 1.8e13, 0.076, 0.103, 0.5},
         0.5 + std::pow(std::pow(6.4e13 / n, 0.076 / 0.103) + 1.8e13 / d, 0.103));
  expect("kaplan_n", {8.8e13, 0.076}, std::pow(8.8e13 / n, 0.076));
  expect("kaplan_d", {5.4e13, 0.095}, std::pow(5.4e13 / d, 0.095));
  expect("kaplan_c", {1e28, 0.05}, std::pow(1e28 / (6 * n * d), 0.05));
  expect("power_n", {1.5, 300, 0.3}, 1.5 + 300 / std::pow(n, 0.3));
  expect("power_d", {1.5, 300, 0.3}, 1.5 + 300 / std::pow(d, 0.3));
  expect("power_c", {1.5, 300, 0.1}, 1.5 + 300 / std::pow(6 * n * d, 0.1));
  const double batch = 5e5, b_crit = 2e8 / std::pow(2.7, 1 / 0.21), s_min = d / batch / (1 + b_crit / batch);
  expect("kaplan_steps", {6.5e13, 2.1e3, 0.077, 0.76, 2e8, 0.21},
         std::pow(6.5e13 / n, 0.077) + std::pow(2.1e3 / s_min, 0.76));
}

TEST(Laws, DataConstrainedDecaysRepetitionsAndExcessParameters) {
  // Muennighoff et al. 2023, section 3, written out as in the authors' notebook.
  const double e = 1.87, a = 521, b = 1488, alpha = 0.36, beta = 0.34, r_d = 15.4, r_n = 5.3;
  const Law& law = law_by_name("data_constrained");
  const Theta theta = working(law, {e, a, b, alpha, beta, r_d, r_n});
  for (const double n : {1e7, 3e8, 2e9, 3e11}) {
    for (const double d : {1e9, 4e9, 2e10, 4e11}) {
      const double unique = 4e9, u_d = std::min(d, unique), repeats = d / u_d - 1;
      const double g = std::pow(alpha * a / (beta * b), 1 / (alpha + beta));
      const double n_star = std::pow(u_d * g, beta / alpha) * g;
      const double u_n = std::min(n, n_star), surplus = n / u_n - 1;
      const double n_eff = u_n + u_n * r_n * (1 - std::exp(-surplus / r_n));
      const double d_eff = u_d + u_d * r_d * (1 - std::exp(-repeats / r_d));
      const double expected = e + a / std::pow(n_eff, alpha) + b / std::pow(d_eff, beta);
      EXPECT_NEAR(loss(law, theta, point_of(n, d, unique)), expected, 1e-11 * expected) << n << " " << d;
      EXPECT_NEAR(log_optimal_parameters(std::log(a), std::log(b), alpha, beta, std::log(u_d)), std::log(n_star),
                  1e-10);
    }
  }
}

TEST(Laws, GradientsEqualCentralDifferences) {
  for (const Law& law : all_laws()) {
    Theta theta{};
    for (int i = 0; i < law.parameters; ++i) {
      const std::string name = law.parameter[i].name;
      double value = 0.3 + 0.02 * i;  // exponents
      if (name == "E") value = 1.7;
      if (name == "A" || name == "B") value = 400 + i;  // and scales
      if (name == "R_D" || name == "R_N") value = 4 + i;
      if (name == "N_c" || name == "D_c" || name == "C_c") value = 1e13;
      if (name == "S_c") value = 2e3;
      if (name == "B_star") value = 2e8;
      theta[i] = law.to_working(i, value);
    }
    for (const double n : {1e7, 3e8, 2e10}) {
      for (const double d : {1e9, 2e10, 4e11}) {
        const RunPoint point = point_of(n, d, 4e9);
        std::array<double, kMaxParameters> gradient{};
        law.log_loss(theta.data(), point, gradient.data());
        for (int i = 0; i < law.parameters; ++i) {
          const double step = 1e-5 * std::max(1.0, std::abs(theta[i]));
          Theta above = theta, below = theta;
          above[i] += step;
          below[i] -= step;
          const double difference =
              (law.log_loss(above.data(), point, nullptr) - law.log_loss(below.data(), point, nullptr)) / (2 * step);
          EXPECT_NEAR(gradient[i], difference, 1e-7 * std::max(1.0, std::abs(difference)))
              << law.name << " " << law.parameter[i].name << " at " << n << ", " << d;
        }
      }
    }
  }
}

TEST(Laws, NamesAreForgivingAndUnknownOnesHelp) {
  EXPECT_STREQ(law_by_name("approach3").name, "chinchilla");
  EXPECT_STREQ(law_by_name("kaplan-irreducible").name, "kaplan_irreducible");
  try {
    law_by_name("chinchila");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_NE(error.hint().find("did you mean chinchilla?"), std::string::npos) << error.hint();
  }
}

}  // namespace
}  // namespace tsugi
