// Published sweeps, against scipy and against the published numbers (tests/golden/scaling/README.md).
#include <gtest/gtest.h>

#include <cmath>

#include "core/data/json.h"
#include "core/scaling/data/read_sweep.h"
#include "core/scaling/fit/fit.h"
#include "core/scaling/fit/isoflop.h"

namespace tsugi {
namespace {

const std::string kFolder = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/scaling/";

JsonValue golden(const char* name) { return read_json(kFolder + "scaling_fits.json", 1 << 20).require_object(name); }

SweepTable read(const char* file, const SweepColumns& columns) { return read_sweep(read_csv(kFolder + file), columns); }

void expect_no_worse(const Fit& fit, const JsonValue& expected) {
  EXPECT_LE(fit.objective, expected.require_double("objective") * (1.0 + 1e-6));
  EXPECT_GT(fit.agreeing, fit.starts / 2);
  if (!expected.has("parameters")) return;
  for (const auto& [name, value] : expected.require_object("parameters").members()) {
    const int index = fit.law->find(name);
    ASSERT_GE(index, 0) << name;
    EXPECT_NEAR(fit.parameter(index) / value.as_double(), 1.0, 2e-3) << name;
  }
}

TEST(PublishedSweeps, ChinchillaEqualsScipy) {
  const SweepTable table = read("chinchilla_points.csv", {});
  ASSERT_EQ(table.runs.runs.size(), 234u);
  ThreadPool pool(2);
  expect_no_worse(fit_law(law_by_name("chinchilla"), table.runs.runs, {}, pool), golden("chinchilla_points"));
  expect_no_worse(fit_law(law_by_name("kaplan_irreducible"), table.runs.runs, {}, pool),
                  golden("chinchilla_points_kaplan_irreducible"));
}

TEST(PublishedSweeps, OlmoLadderPredicts13B) {
  SweepColumns columns;
  columns.where = "model != peteish7 and name != 190M-1xC-rerun";  // unquoted texts would be names of columns
  EXPECT_THROW(read("olmo_ladder.csv", columns), Error);
  columns.where =
      "ratio > 19 and model != 'peteish7' and name != '190M-1xC-rerun' and name != '370M-1xC-rerun' and "
      "name != '760M-1xC-rerun' and name != '1B-1xC-rerun' and name != 'peteish13_eval_50k-150k' and "
      "name != 'peteish13_eval_full'";
  columns.hold_out = "n > 2e9";
  const SweepTable table = read("olmo_ladder.csv", columns);
  const std::vector<SweepRun> runs = fitted_runs(table.runs);
  ASSERT_EQ(runs.size(), 16u);
  ThreadPool pool(2);
  const Fit fit = fit_law(law_by_name("chinchilla"), runs, {}, pool);
  const JsonValue expected = golden("olmo_ladder");
  expect_no_worse(fit, expected);
  EXPECT_NEAR(relative_error(fit, runs).mean, 0.0024730743790536483, 1e-6);
  bool found = false;
  for (const SweepRun& run : held_out_runs(table.runs)) {
    if (run.name != "peteish13_eval_final") continue;
    found = true;
    EXPECT_NEAR(fit.predict(run), expected.require_double("published_prediction_13B_5T"), 2e-7);
    EXPECT_NEAR(fit.predict(run) / run.loss - 1.0, -0.0383, 2e-3);
  }
  EXPECT_TRUE(found);
}

// What the forms, fitted to the same 16 runs, say of 3B (four runs) and of 13B: mean |error| as an independent fitter
// had it.
TEST(PublishedSweeps, OlmoLadderBackTest) {
  constexpr double kPercent = 100.0, kTolerance = 0.05;
  struct Expected {
    const char* law;
    double of_3b, of_13b;
  };
  SweepColumns columns;
  columns.where =
      "ratio > 19 and model != 'peteish7' and name != '190M-1xC-rerun' and name != '370M-1xC-rerun' and "
      "name != '760M-1xC-rerun' and name != '1B-1xC-rerun' and name != '3B-1xC-rerun' and "
      "name != 'peteish13_eval_50k-150k' and name != 'peteish13_eval_full'";
  columns.hold_out = "n > 2e9";
  const SweepTable table = read("olmo_ladder.csv", columns);
  const std::vector<SweepRun> runs = fitted_runs(table.runs);
  std::vector<SweepRun> of_3b, of_13b;
  for (const SweepRun& run : held_out_runs(table.runs)) (run.n < 4e9 ? of_3b : of_13b).push_back(run);
  ASSERT_EQ(runs.size(), 16u);
  ASSERT_EQ(of_3b.size(), 4u);
  ASSERT_EQ(of_13b.size(), 1u);
  ThreadPool pool(2);
  for (const Expected& one : {Expected{"chinchilla", 1.10, 3.83}, Expected{"kaplan", 1.55, 5.71},
                              Expected{"kaplan_irreducible", 0.42, 2.36}}) {
    const Fit fit = fit_law(law_by_name(one.law), runs, {}, pool);
    EXPECT_NEAR(kPercent * relative_error(fit, of_3b).mean, one.of_3b, kTolerance) << one.law;
    EXPECT_NEAR(kPercent * relative_error(fit, of_13b).mean, one.of_13b, kTolerance) << one.law;
  }
}

TEST(PublishedSweeps, DataConstrainedFindsTheDeeperValley) {
  const SweepTable table = read("datablations.csv", {});
  ASSERT_EQ(table.runs.runs.size(), 182u);
  const JsonValue expected = golden("datablations");
  FitOptions options;
  options.fixed = {{"A", std::exp(6.255414)},
                   {"B", std::exp(7.3049974)},
                   {"E", std::exp(0.6254804)},
                   {"alpha", 0.3526596},
                   {"beta", 0.3526596}};
  ThreadPool pool(2);
  const Law& law = law_by_name("data_constrained");
  const Fit free = fit_law(law, table.runs.runs, options, pool);
  EXPECT_LE(free.objective, expected.require_double("objective") * (1.0 + 1e-6));
  EXPECT_NEAR(free.parameter(5), expected.require_double("R_D"), 0.5);
  EXPECT_NEAR(free.parameter(6), expected.require_double("R_N"), 0.02);
  options.fixed.emplace_back("R_D", 15.387756);
  options.fixed.emplace_back("R_N", 5.309743);
  const Fit published = fit_law(law, table.runs.runs, options, pool);
  EXPECT_NEAR(published.objective, expected.require_double("objective_of_published"), 1e-12);
  EXPECT_NEAR(r_squared(published, table.runs.runs), 0.7722046084968408, 1e-9);
}

}  // namespace
}  // namespace tsugi
