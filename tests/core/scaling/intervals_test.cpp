#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/scaling/fit/sweep_fit.h"
#include "tests/core/scaling/synthetic.h"

namespace tsugi {
namespace {

TEST(PercentileInterval, InterpolatesAndLeavesOutNaN) {
  std::vector<double> values;
  for (int i = 100; i >= 0; --i) values.push_back(i);
  values.push_back(std::nan(""));
  const Interval interval = percentile_interval(values, 0.9);
  EXPECT_DOUBLE_EQ(interval.low, 5.0);
  EXPECT_DOUBLE_EQ(interval.high, 95.0);
  EXPECT_TRUE(std::isnan(percentile_interval({}).low));
}

TEST(Bootstrap, ClustersAreDrawnWhole) {
  // Twenty evaluations of each run, noise common to all of a run: as if independent they would look twenty times as
  // many.
  RunTable runs = isoflop_sweep(4, 6, 0.01);
  RunTable evaluations;
  for (const SweepRun& run : runs.runs) {
    for (int i = 0; i < 20; ++i) {
      evaluations.runs.push_back(run);
      evaluations.runs.back().cluster = run.name;
    }
  }
  ThreadPool pool(2);
  const Law& law = law_by_name("chinchilla");
  FitOptions options;
  options.starts = 8;
  const auto width = [&](const RunTable& table) {
    const Fit fit = fit_law(law, table.runs, options, pool);
    const Bootstrap bootstrap = bootstrap_runs(fit, table.runs, 100, 5, pool);
    const Interval interval = bootstrap_interval(bootstrap, [](const Theta& theta) { return theta[0]; });
    return interval.high - interval.low;
  };
  const double once = width(runs), clustered = width(evaluations);
  for (SweepRun& run : evaluations.runs) run.cluster.clear();
  const double independent = width(evaluations);
  EXPECT_NEAR(clustered / once, 1.0, 0.05);
  EXPECT_LT(independent, 0.6 * once);
}

TEST(Intervals, CoverTheTruthAboutAsOftenAsTheySay) {
  // 60 sweeps of 30 runs, noise of 0.5 %; the new run has 10 times the largest budget.
  constexpr int kSweeps = 60;
  ThreadPool pool(2);
  SweepFitOptions options;
  options.fit.starts = 8;
  options.bootstraps = 120;
  SweepRun target = isoflop_sweep(7, 3, 0.0).runs[19];
  const double truth[] = {std::log(1.8), std::log(480.0), std::log(2100.0), 0.35, 0.37};
  int alpha_bootstrap = 0, alpha_profile = 0, e_profile = 0, predicted = 0;
  double half_width = 0.0;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    const RunTable table = isoflop_sweep(5, 6, 0.005, 100 + static_cast<uint64_t>(sweep));
    options.seed = static_cast<uint64_t>(sweep);
    const SweepFit fit = fit_sweep(law_by_name("chinchilla"), table, options, pool);
    const auto contains = [](const Interval& interval, double value) {
      return interval.low <= value && value <= interval.high;
    };
    alpha_bootstrap += contains(fit.interval[3], truth[3]) ? 1 : 0;
    alpha_profile += contains(fit.profile[3], truth[3]) ? 1 : 0;
    e_profile += contains(fit.profile[0], std::exp(truth[0])) ? 1 : 0;
    const Prediction prediction = predict_loss(fit, target);
    const double measured = target.loss * std::exp(0.005 * normal(9999, static_cast<uint64_t>(sweep)));
    predicted += contains(prediction.interval, measured) ? 1 : 0;
    half_width += 0.5 * (prediction.interval.high - prediction.interval.low) / prediction.loss / kSweeps;
  }
  // 95 % of 60 is 57, with a standard deviation of 1.7; percentile intervals of 30 runs are known to be a little
  // narrow.
  EXPECT_GE(alpha_bootstrap, 50);
  EXPECT_GE(alpha_profile, 48);
  EXPECT_GE(e_profile, 48);
  EXPECT_GE(predicted, 52);
  EXPECT_LT(half_width, 0.05);  // and they say something
  RecordProperty("alpha_bootstrap", alpha_bootstrap);
  RecordProperty("alpha_profile", alpha_profile);
  RecordProperty("e_profile", e_profile);
  RecordProperty("predicted", predicted);
}

TEST(Profile, EqualsTheNormalIntervalOfAStraightLine) {
  // ln L = alpha (ln N_c - ln N): least squares of a line, whose interval for the slope is known exactly.
  RunTable table;
  const int count = 40;
  double mean = 0.0, squares = 0.0;
  for (int i = 0; i < count; ++i) {
    SweepRun run;
    run.n = 1e6 * std::pow(1.3, i);
    run.loss = std::pow(8.8e13 / run.n, 0.076) * std::exp(0.01 * normal(3, static_cast<uint64_t>(i)));
    table.runs.push_back(run);
    mean += std::log(run.n) / count;
  }
  for (const SweepRun& run : table.runs) squares += std::pow(std::log(run.n) - mean, 2);
  FitOptions options;
  options.objective.delta = HUGE_VAL;
  ThreadPool pool(1);
  const Fit fit = fit_law(law_by_name("kaplan_n"), table.runs, options, pool);
  double residual = 0.0;
  for (const double one : fit.residuals) residual += one * one;
  const double error = std::sqrt(residual / (count - 2) / squares);
  const Interval interval = profile_interval(fit, table.runs, 1);
  EXPECT_NEAR(interval.low, fit.parameter(1) - 1.96 * error, 0.02 * error);
  EXPECT_NEAR(interval.high, fit.parameter(1) + 1.96 * error, 0.02 * error);
}

TEST(Profile, FindsTheDecayOfRepetitions) {
  // Up to 50 epochs with R_D = 12; no excess of parameters.
  RunTable table;
  for (int i = 0; i < 40; ++i) {
    SweepRun run;
    run.n = 1e7 * std::pow(3.0, i % 4);
    run.unique = 1e10;
    run.d = 1e9 * std::pow(2.0, i / 4);
    const double u = std::min(run.d, run.unique), repeats = run.d / u - 1;
    const double d = u * (1 + 12 * (1 - std::exp(-repeats / 12)));
    run.loss = true_loss(run.n, d) * std::exp(0.002 * normal(4, static_cast<uint64_t>(i)));
    table.runs.push_back(run);
  }
  ThreadPool pool(2);
  const Fit fit = fit_law(law_by_name("data_constrained"), table.runs, {}, pool);
  const Interval r_d = profile_interval(fit, table.runs, 5);
  EXPECT_LT(r_d.low, 12.0);
  EXPECT_GT(r_d.high, 12.0);
}

}  // namespace
}  // namespace tsugi
