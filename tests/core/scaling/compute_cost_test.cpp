#include "core/scaling/advice/compute_cost.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/scaling/advice/allocation.h"
#include "core/scaling/fit/isoflop.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

std::vector<SweepRun> runs_that_cost(double coefficient, double exponent) {
  std::vector<SweepRun> runs;
  for (double n = 1e4; n < 1e6; n *= 2.5) {
    for (double d = 1e5; d < 1e7; d *= 7.0) {
      SweepRun run;
      run.n = n;
      run.d = d;
      run.c = coefficient * std::pow(n, exponent) * d;
      run.loss = 2.0;
      runs.push_back(run);
    }
  }
  return runs;
}

TEST(ComputeCost, IsWhatTheRunsPay) {
  std::vector<SweepRun> runs = runs_that_cost(10.0, 0.95);
  const ComputeCost cost = compute_cost_of(runs);
  EXPECT_FALSE(cost.is_rule_of_thumb());
  EXPECT_NEAR(cost.coefficient, 10.0, 1e-6);
  EXPECT_NEAR(cost.exponent, 0.95, 1e-9);
  EXPECT_LT(cost.worst, 1e-9);
  EXPECT_NEAR(cost.tokens(cost.flops(3e4, 5e6), 3e4) / 5e6, 1.0, 1e-12);
  EXPECT_NEAR(cost.parameters(cost.flops(3e4, 5e6), 5e6) / 3e4, 1.0, 1e-12);
  runs[0].c *= 1.2;
  EXPECT_GT(compute_cost_of(runs).worst, 0.1);
}

TEST(ComputeCost, StaysTheRuleOfThumbWithinOnePercent) {
  EXPECT_TRUE(compute_cost_of(runs_that_cost(6.05, 1.0)).is_rule_of_thumb());
  EXPECT_TRUE(compute_cost_of({}).is_rule_of_thumb());
  // One size says nothing of an exponent.
  std::vector<SweepRun> one_size = runs_that_cost(8.0, 1.0);
  std::erase_if(one_size, [&](const SweepRun& run) { return run.n != one_size.front().n; });
  EXPECT_EQ(compute_cost_of(one_size).exponent, 1.0);
  EXPECT_NEAR(compute_cost_of(one_size).coefficient, 8.0, 1e-9);
}

TEST(ComputeCost, MovesTheOptimumAsTheClosedFormSays) {
  // With D = C/(k N^p): alpha A N^-alpha = p beta B k^beta N^(p beta) C^-beta at the minimum.
  const double a = 400.0, b = 2000.0, alpha = 0.35, beta = 0.37, k = 10.0, p = 0.95, c = 1e18;
  const Theta theta{std::log(1.7), std::log(a), std::log(b), alpha, beta};
  const Law& law = law_by_name("chinchilla");
  const ComputeCost cost{k, p, 0.0};
  const double n = std::pow(alpha * a / (p * beta * b) * std::pow(c / k, beta), 1.0 / (alpha + p * beta));
  const Allocation best = allocate(law, theta, c, RunPoint::kUnknown, cost);
  EXPECT_NEAR(best.n / n, 1.0, 1e-5);
  EXPECT_NEAR(cost.flops(best.n, best.d) / c, 1.0, 1e-9);
  EXPECT_NEAR(parameter_exponent(law, theta, c, cost), beta / (alpha + p * beta), 1e-5);
}

TEST(ComputeCost, BudgetsAreJudgedWhereThereIsNoLine) {
  std::vector<SweepRun> runs;
  for (double n = 1e4; n < 1e6; n *= 2.0) {
    SweepRun run;
    run.n = n;
    run.c = 1e12;
    run.d = run.c / (6.0 * n);
    run.loss = 2.0 + 0.05 * std::pow(std::log(n / 9e4), 2);
    runs.push_back(run);
  }
  const std::vector<IsoflopBudget> budgets = judge_budgets(runs);
  ASSERT_EQ(budgets.size(), 1U);
  EXPECT_TRUE(budgets[0].used);
  EXPECT_NEAR(budgets[0].n_optimal / 9e4, 1.0, 1e-6);
  ThreadPool pool(1);
  EXPECT_THROW(fit_isoflop(runs, {}, pool), Error);
}

}  // namespace
}  // namespace tsugi
