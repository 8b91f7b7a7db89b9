#include "core/scaling/fit/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/scaling/fit/sweep_fit.h"
#include "ops/base/error.h"
#include "tests/core/scaling/synthetic.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

TEST(FitLaw, FindsTheTruthOfASweepWithoutNoise) {
  const RunTable table = isoflop_sweep(5, 6, 0.0);
  ThreadPool pool(2);
  const Fit fit = fit_law(law_by_name("chinchilla"), table.runs, {}, pool);
  EXPECT_LT(fit.objective, 1e-12);
  const double truth[] = {1.8, 480, 2100, 0.35, 0.37};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(fit.parameter(i), truth[i], 1e-4 * truth[i]) << fit.law->parameter[i].name;
  EXPECT_TRUE(fit.warnings.empty()) << fit.warnings[0];
}

TEST(FitLaw, FindsTheTruthOfEveryLaw) {
  ThreadPool pool(2);
  for (const Law& law : all_laws()) {
    Theta truth{};
    for (int i = 0; i < law.parameters; ++i) {
      const std::string name = law.parameter[i].name;
      double value = 0.3 + 0.05 * i;
      if (name == "E") value = 1.5;
      if (name == "A") value = 400;
      if (name == "B") value = 1000;
      if (name == "R_D") value = 12;
      if (name == "R_N") value = 4;
      if (name == "N_c" || name == "D_c" || name == "C_c") value = 2e11;
      if (name == "S_c") value = 2e3;
      if (name == "B_star") value = 2e6;
      truth[i] = law.to_working(i, value);
    }
    RunTable table;
    for (int i = 0; i < 60; ++i) {
      SweepRun run;
      run.name = std::to_string(i);
      run.n = 1e7 * std::pow(10.0, (i % 6) * 0.5);
      const int budget = i / 6;
      run.d = 2e8 * std::pow(10.0, budget * 0.35);
      run.c = training_flops(run.n, run.d);
      run.unique = 4e9;
      run.batch = 1e5 * std::pow(4.0, i % 4);
      run.steps = run.d / run.batch;
      run.loss = 2.0;
      // The loss is on both sides of kaplan_steps: iterate to the fixed point.
      for (int k = 0; k < 200; ++k) run.loss = std::exp(law.log_loss(truth.data(), run.point(), nullptr));
      table.runs.push_back(run);
    }
    const Fit fit = fit_law(law, table.runs, {}, pool);
    EXPECT_LT(fit.objective, 1e-11) << law.name;
    EXPECT_LT(relative_error(fit, table.runs).largest, 1e-5) << law.name;
    for (int i = 0; i < law.parameters; ++i) {
      EXPECT_NEAR(fit.theta[i], truth[i], 2e-3 * std::max(1.0, std::abs(truth[i])))
          << law.name << " " << law.parameter[i].name;
    }
  }
}

TEST(FitLaw, TheSameBitsForAnyNumberOfThreads) {
  const RunTable table = isoflop_sweep(4, 6, 0.01);
  SweepFitOptions options;
  options.bootstraps = 40;
  ThreadPool one(1), three(3);
  const SweepFit a = fit_sweep(law_by_name("chinchilla"), table, options, one);
  const SweepFit b = fit_sweep(law_by_name("chinchilla"), table, options, three);
  EXPECT_EQ(a.fit.theta, b.fit.theta);
  EXPECT_EQ(a.bootstrap.samples, b.bootstrap.samples);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(a.profile[i].low, b.profile[i].low);
    EXPECT_EQ(a.profile[i].high, b.profile[i].high);
  }
}

TEST(FitLaw, OutliersWeighLittle) {
  RunTable table = isoflop_sweep(5, 7, 0.002);
  ThreadPool pool(2);
  table.runs[3].loss *= 1.5;  // a run that went wrong
  const Fit huber = fit_law(law_by_name("chinchilla"), table.runs, {}, pool);
  FitOptions squares;
  squares.objective.delta = HUGE_VAL;
  const Fit least = fit_law(law_by_name("chinchilla"), table.runs, squares, pool);
  EXPECT_NEAR(huber.parameter(3), 0.35, 0.05);
  EXPECT_GT(std::abs(least.parameter(3) - 0.35), 0.1);
}

TEST(FitLaw, FixedParametersStay) {
  const RunTable table = isoflop_sweep(4, 5, 0.005);
  ThreadPool pool(1);
  FitOptions options;
  options.fixed = {{"E", 1.8}, {"alpha", 0.35}};
  const Fit fit = fit_law(law_by_name("chinchilla"), table.runs, options, pool);
  EXPECT_DOUBLE_EQ(fit.parameter(0), 1.8);
  EXPECT_DOUBLE_EQ(fit.parameter(3), 0.35);
  EXPECT_EQ(fit.free_parameters(), 3);
  options.fixed = {{"gamma", 1.0}};
  EXPECT_THROW(fit_law(law_by_name("chinchilla"), table.runs, options, pool), Error);
  options.fixed = {{"A", -1.0}};
  EXPECT_THROW(fit_law(law_by_name("chinchilla"), table.runs, options, pool), Error);
}

std::string refusal(const char* law, const RunTable& table, std::string* hint = nullptr) {
  ThreadPool pool(1);
  try {
    fit_law(law_by_name(law), table.runs, {}, pool);
  } catch (const Error& error) {
    if (hint != nullptr) *hint = error.hint();
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  return "fitted";
}

TEST(FitLaw, RefusesWhatTheRunsCannotDetermine) {
  std::string hint;
  RunTable one_size = isoflop_sweep(5, 5, 0.0);
  for (SweepRun& run : one_size.runs) run.n = 1e8;
  EXPECT_THAT(refusal("chinchilla", one_size, &hint), HasSubstr("all runs have the same n"));
  EXPECT_THAT(hint, HasSubstr("add runs with at least 3 different n"));

  RunTable few = isoflop_sweep(2, 5, 0.0);
  few.runs.resize(5);
  EXPECT_THAT(refusal("chinchilla", few, &hint), HasSubstr("5 free parameters, but there are only 5 runs"));
  EXPECT_THAT(hint, HasSubstr("at least 6 runs"));

  const RunTable no_unique = isoflop_sweep(4, 4, 0.0);
  EXPECT_THAT(refusal("data_constrained", no_unique), HasSubstr("has no unique"));

  RunTable never_repeated = isoflop_sweep(4, 4, 0.0);
  for (SweepRun& run : never_repeated.runs) run.unique = run.d;
  EXPECT_THAT(refusal("data_constrained", never_repeated), HasSubstr("no run repeats its data"));
}

TEST(FitLaw, WarnsOfOneRatio) {
  RunTable table;
  for (int i = 0; i < 16; ++i) {
    SweepRun run;
    run.n = 1e7 * std::pow(1.5, i);
    run.d = 20 * run.n;
    run.loss = true_loss(run.n, run.d);
    table.runs.push_back(run);
  }
  ThreadPool pool(1);
  const Fit fit = fit_law(law_by_name("chinchilla"), table.runs, {}, pool);
  EXPECT_THAT(fit.warnings, ::testing::Contains(HasSubstr("cannot be told apart")));
}

}  // namespace
}  // namespace tsugi
