#include "core/scaling/fit/backtest.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>

#include "core/scaling/fit/fit_file.h"
#include "core/scaling/fit/hyperparameters.h"
#include "ops/base/error.h"
#include "tests/core/scaling/synthetic.h"

namespace tsugi {
namespace {

TEST(Backtest, RanksTheFormThatIsTrueFirst) {
  const RunTable table = isoflop_sweep(7, 6, 0.002);
  ThreadPool pool(2);
  FitOptions options;
  options.starts = 16;
  const std::vector<const Law*> laws = comparable_laws(table.runs);
  ASSERT_EQ(laws.size(), 3u);
  const std::vector<SweepRun> held_out(table.runs.end() - 6, table.runs.end());
  const std::vector<SweepRun> runs(table.runs.begin(), table.runs.end() - 6);
  const Backtest ranking = backtest(laws, runs, held_out, options, pool);
  ASSERT_GE(ranking.cuts.size(), 2u);
  for (const auto& cut : ranking.cuts) {
    EXPECT_EQ(cut.fitted % 6, 0) << "a cut goes through a budget";
    EXPECT_EQ(cut.fitted + cut.predicted, 36);
  }
  EXPECT_STREQ(ranking.forms[0].law->name, "chinchilla");
  EXPECT_STREQ(ranking.forms[2].law->name, "kaplan");
  EXPECT_LT(ranking.forms[0].mean, 0.01);
  EXPECT_LT(ranking.forms[0].held_out.mean, 0.005);
  EXPECT_GT(ranking.forms[2].held_out.mean, 2.0 * ranking.forms[0].held_out.mean);
  EXPECT_EQ(ranking.forms[0].held_out.runs, 6);
}

TEST(Backtest, TellsWhatCannotBeFitted) {
  RunTable table = isoflop_sweep(3, 5, 0.0);
  for (SweepRun& run : table.runs) run.n = 1e8;
  ThreadPool pool(1);
  const Backtest ranking = backtest(comparable_laws(table.runs), table.runs, {}, {}, pool);
  for (const BacktestForm& form : ranking.forms) EXPECT_NE(form.refused, "");
}

TEST(FitFile, RoundTripsAndRefusesDamage) {
  const RunTable table = isoflop_sweep(4, 5, 0.004);
  ThreadPool pool(2);
  SweepFitOptions options;
  options.bootstraps = 20;
  options.fit.starts = 8;
  options.seed = 18446744073709551615u;
  FitFile file;
  file.fit = fit_sweep(law_by_name("chinchilla"), table, options, pool);
  file.rivals.push_back({&law_by_name("kaplan"), {1, 2, 3, 4}, 0.02});
  describe_runs(file, table.runs);
  EXPECT_TRUE(file.cost.is_rule_of_thumb());
  file.cost = {9.0, 0.97, 0.02};
  const std::string path = ::testing::TempDir() + "fit.json";
  const std::string hash = save_fit(path, file, {{"form", "chinchilla"}});
  const FitFile read = load_fit(path);
  EXPECT_EQ(read.hash, hash);
  EXPECT_EQ(hash.size(), 16u);
  EXPECT_EQ(read.fit.fit.theta, file.fit.fit.theta);
  EXPECT_EQ(read.fit.bootstrap.samples, file.fit.bootstrap.samples);
  EXPECT_EQ(read.fit.bootstrap.seed, options.seed);
  EXPECT_EQ(read.c.high, file.c.high);
  EXPECT_EQ(read.cost.coefficient, 9.0);
  EXPECT_EQ(read.cost.exponent, 0.97);
  EXPECT_EQ(read.cost.worst, 0.02);
  ASSERT_EQ(read.rivals.size(), 1u);
  EXPECT_EQ(read.rivals[0].theta, file.rivals[0].theta);
  const Prediction before = predict_loss(file.fit, table.runs[3]), after = predict_loss(read.fit, table.runs[3]);
  EXPECT_EQ(before.loss, after.loss);
  EXPECT_EQ(before.interval.low, after.interval.low);

  std::ifstream stream(path);
  const auto good = nlohmann::ordered_json::parse(stream);
  const auto refused = [&](const std::function<void(nlohmann::ordered_json&)>& damage) {
    nlohmann::ordered_json bad = good;
    damage(bad["tsugi_fit"]);
    std::ofstream(path) << bad.dump();
    EXPECT_THROW(load_fit(path), Error) << bad["tsugi_fit"].dump().substr(0, 200);
  };
  refused([](auto& fit) { fit["version"] = 2; });
  refused([](auto& fit) { fit["form"] = "gpt"; });
  refused([](auto& fit) { fit["theta"].push_back(1.0); });
  refused([](auto& fit) { fit["theta"][0] = "x"; });
  refused([](auto& fit) { fit["samples"][3].erase(0); });
  refused([](auto& fit) { fit["residuals"] = nlohmann::ordered_json::array(); });
  refused([](auto& fit) { fit["level"] = 2.0; });
  refused([](auto& fit) { fit["seed"] = -1; });
  refused([](auto& fit) { fit.erase("fitted"); });
  refused([](auto& fit) { fit["fitted"]["c"] = {1.0}; });
  refused([](auto& fit) { fit["compute"]["coefficient"] = 0.0; });
  refused([](auto& fit) { fit["compute"].erase("exponent"); });
  nlohmann::ordered_json older = good;  // written before the cost was kept
  older["tsugi_fit"].erase("compute");
  std::ofstream(path) << older.dump();
  EXPECT_TRUE(load_fit(path).cost.is_rule_of_thumb());
  std::ofstream(path) << "{}";
  EXPECT_THROW(load_fit(path), Error);
  std::filesystem::remove(path);
}

TEST(Hyperparameters, FindsPowerLawsBetweenGridPoints) {
  // StepLaw: lr = 1.79 n^-0.713 d^0.307, batch = 0.58 d^0.571; bowls around them on a grid of factors of 1.4.
  RunTable table;
  for (const double n : {6e7, 2e8, 4e8, 1e9}) {
    for (const double d : {2e9, 1e10, 5e10}) {
      const double lr = 1.79 * std::pow(n, -0.713) * std::pow(d, 0.307), batch = 0.58 * std::pow(d, 0.571);
      for (int i = -6; i <= 6; ++i) {
        for (int j = -5; j <= 5; ++j) {
          SweepRun run;
          run.n = n;
          run.d = d;
          run.learning_rate = std::pow(1.4, std::round(std::log(lr) / std::log(1.4)) + i);
          run.batch = std::pow(1.4, std::round(std::log(batch) / std::log(1.4)) + j);
          const double x = std::log(run.learning_rate / lr), y = std::log(run.batch / batch);
          run.loss = true_loss(n, d) * (1 + 0.004 * (x * x - 0.6 * x * y + y * y));
          table.runs.push_back(run);
        }
      }
    }
  }
  const HyperparameterFit fit = fit_hyperparameters(table.runs, 100, 0, 0.95);
  EXPECT_EQ(fit.cells.size(), 12u);
  EXPECT_NEAR(fit.learning_rate.n_exponent, -0.713, 1e-3);
  EXPECT_NEAR(fit.learning_rate.d_exponent, 0.307, 1e-3);
  EXPECT_NEAR(fit.batch.d_exponent, 0.571, 1e-3);
  EXPECT_EQ(fit.batch.n_exponent, 0.0);
  EXPECT_NEAR(fit.batch.at(1e9, 1e11), 0.58 * std::pow(1e11, 0.571), 0.01 * 0.58 * std::pow(1e11, 0.571));
  EXPECT_LT(fit.largest_excess, 0.002);
  EXPECT_TRUE(fit.warnings.empty());
  std::erase_if(table.runs, [](const SweepRun& run) {
    return run.learning_rate > 1.79 * std::pow(run.n, -0.713) * std::pow(run.d, 0.307);
  });
  EXPECT_FALSE(fit_hyperparameters(table.runs, 0, 0, 0.95).warnings.empty());
  table.runs.resize(100);
  EXPECT_THROW(fit_hyperparameters(table.runs, 0, 0, 0.95), Error);
}

// Too high a rate costs more than too low a one, and the more so the longer the run: far sides of the valley say little
// about its bottom.
TEST(Hyperparameters, LooksNearTheBottomOfALopsidedValley) {
  RunTable table;
  for (const double n : {6e7, 2e8, 1e9}) {
    for (const double d : {2e9, 1e10, 5e10}) {
      const double lr = 1.79 * std::pow(n, -0.713) * std::pow(d, 0.307), batch = 0.58 * std::pow(d, 0.571);
      const double lopsided = 0.3 * std::log(d / 1e9);
      for (int i = -6; i <= 6; ++i) {
        for (int j = -5; j <= 5; ++j) {
          SweepRun run;
          run.n = n;
          run.d = d;
          run.learning_rate = std::pow(1.4, std::round(std::log(lr) / std::log(1.4)) + i);
          run.batch = std::pow(1.4, std::round(std::log(batch) / std::log(1.4)) + j);
          const double x = std::log(run.learning_rate / lr), y = std::log(run.batch / batch);
          run.loss = true_loss(n, d) * (1 + 0.004 * (x * x + lopsided * std::pow(std::max(x, 0.0), 4) + y * y));
          table.runs.push_back(run);
        }
      }
    }
  }
  const HyperparameterFit fit = fit_hyperparameters(table.runs, 0, 0, 0.95);
  EXPECT_NEAR(fit.learning_rate.d_exponent, 0.307, 0.02);
  EXPECT_NEAR(fit.batch.d_exponent, 0.571, 0.01);
}

}  // namespace
}  // namespace tsugi
