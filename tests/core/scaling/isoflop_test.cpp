#include "core/scaling/fit/isoflop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/scaling/advice/allocation.h"
#include "ops/base/error.h"
#include "tests/core/scaling/synthetic.h"

namespace tsugi {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr double kTrueExponent = 0.37 / 0.72;

TEST(Isoflop, FindsTheExponentsAndTheFrontierOfNarrowGrids) {
  const RunTable table = isoflop_sweep(6, 7, 0.0, 1, 3.0, 2.0);
  ThreadPool pool(2);
  const ComputeOptimal fit = fit_isoflop(table.runs, {}, pool);
  ASSERT_EQ(fit.budgets.size(), 6u);
  EXPECT_NEAR(fit.n.exponent, kTrueExponent, 2e-3);
  EXPECT_NEAR(fit.d.exponent, 1.0 - kTrueExponent, 2e-3);
  ASSERT_TRUE(fit.frontier.has_value());
  const double c = 1e22, g = std::pow(0.35 * 480 / (0.37 * 2100), 1 / 0.72);
  const double n = g * std::pow(c / 6, kTrueExponent);
  const ComputeOptimalAdvice advice = advise(fit, c);
  EXPECT_NEAR(advice.n / n, 1.0, 0.03);
  EXPECT_NEAR(advice.loss / true_loss(n, c / 6 / n), 1.0, 1e-3);
}

TEST(Isoflop, IntervalsCoverTheExponent) {
  ThreadPool pool(2);
  IsoflopOptions options;
  options.bootstraps = 200;
  int covered = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const ComputeOptimal fit = fit_isoflop(isoflop_sweep(5, 7, 0.003, 200 + seed, 3.0, 3.0).runs, options, pool);
    covered += fit.n_exponent.low <= kTrueExponent && kTrueExponent <= fit.n_exponent.high ? 1 : 0;
  }
  EXPECT_GE(covered, 33);  // 38 expected
}

TEST(Isoflop, ListsBudgetsThatCannotBeUsedAndWhatToAdd) {
  RunTable table = isoflop_sweep(5, 7, 0.0);
  std::vector<SweepRun> runs;
  for (const SweepRun& run : table.runs) {
    const int budget = run.name[0] - '0', size = run.name[2] - '0';
    if (budget == 1 && size < 4) continue;  // the minimum lies below
    if (budget == 3 && size > 1) continue;  // too few
    runs.push_back(run);
  }
  ThreadPool pool(1);
  const ComputeOptimal fit = fit_isoflop(runs, {}, pool);
  EXPECT_FALSE(fit.budgets[1].used);
  EXPECT_FALSE(fit.budgets[3].used);
  EXPECT_TRUE(fit.budgets[0].used);
  EXPECT_THAT(fit.warnings, Contains(HasSubstr("add sizes, at least four")));
  table = isoflop_sweep(3, 8, 0.0);
  std::erase_if(table.runs, [](const SweepRun& run) { return run.name[2] < '4'; });
  try {
    fit_isoflop(table.runs, {}, pool);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("there is none among 3"));
    EXPECT_THAT(error.hint(), HasSubstr("add smaller sizes"));
  }
}

TEST(Isoflop, RefusesRunsThatLieOnNoBudgets) {
  RunTable table;
  for (int i = 0; i < 60; ++i) {
    SweepRun run;
    run.n = 1e8 * std::pow(1.1, i % 7);
    run.c = 1e18 * std::pow(1.05, i);
    run.d = run.c / 6 / run.n;
    run.loss = true_loss(run.n, run.d);
    table.runs.push_back(run);
  }
  ThreadPool pool(1);
  EXPECT_THROW(fit_isoflop(table.runs, {}, pool), Error);
}

TEST(Envelope, FindsTheExponentsOfTrainingCurves) {
  RunTable table;
  for (int size = 0; size < 24; ++size) {
    const double n = 1e7 * std::pow(10.0, size / 6.0);
    for (int k = 0; k < 30; ++k) {
      SweepRun run;
      run.n = n;
      run.d = n * std::pow(10.0, -0.5 + k / 8.0);
      run.c = training_flops(run.n, run.d);
      run.loss = true_loss(run.n, run.d);
      table.runs.push_back(run);
    }
  }
  ThreadPool pool(2);
  IsoflopOptions options;
  options.bootstraps = 50;
  const ComputeOptimal fit = fit_envelope(table.runs, options, pool);
  EXPECT_NEAR(fit.n.exponent, kTrueExponent, 0.02);
  EXPECT_NEAR(fit.d.exponent, 1.0 - kTrueExponent, 0.02);
  EXPECT_LT(fit.n_exponent.low, kTrueExponent);
  EXPECT_GT(fit.n_exponent.high, kTrueExponent);
  table.runs.resize(60);
  EXPECT_THROW(fit_envelope(table.runs, options, pool), Error);
}

TEST(Allocation, EqualsTheClosedForm) {
  // Hoffmann et al. 2022, eq. 4, with the rounded parameters of the paper and with those of its TeX source.
  struct Case {
    double e, a, b, alpha, beta, c, n, d, loss;
  };
  const Case cases[] = {
      {1.69, 406.4, 410.7, 0.34, 0.28, 1e21, 1.8242177e9, 9.1363365e10, 2.3288829},
      {1.69, 406.4, 410.7, 0.34, 0.28, 5.88e23, 3.2491009e10, 3.016219e12, 1.9299871},
      {std::exp(0.5267228), std::exp(6.0073404), std::exp(6.0179186), 0.33917084, 0.2849083, 1e24, 5.191999e10,
       3.2100674e12, 1.899988},
  };
  const Law& law = law_by_name("chinchilla");
  for (const Case& one : cases) {
    const Theta theta{std::log(one.e), std::log(one.a), std::log(one.b), one.alpha, one.beta};
    const Allocation best = allocate(law, theta, one.c);
    EXPECT_NEAR(best.n / one.n, 1.0, 1e-5);
    EXPECT_NEAR(best.d / one.d, 1.0, 1e-5);
    EXPECT_NEAR(best.loss, one.loss, 1e-6);
    EXPECT_NEAR(parameter_exponent(law, theta, one.c), one.beta / (one.alpha + one.beta), 1e-5);
    // The stated ends of the flat stretch cost what they say.
    for (const double n : {best.n_within_percent.low, best.n_within_percent.high}) {
      const double loss = one.e + one.a / std::pow(n, one.alpha) + one.b / std::pow(one.c / 6 / n, one.beta);
      EXPECT_NEAR(loss / best.loss, 1.01, 1e-6);
    }
  }
  EXPECT_THROW(allocate(law_by_name("power_c"), {}, 1e20), Error);
}

}  // namespace
}  // namespace tsugi
