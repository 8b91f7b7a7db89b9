// `tsugi sweep fit` and `predict` as scripts use them: options in, one JSON object out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/commands/commands.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kChinchilla = std::string(TSUGI_SOURCE_DIR) + "/tests/golden/scaling/chinchilla_points.csv";

/// Standard output of `sweep ARGUMENTS`.
std::string sweep(std::vector<std::string> arguments) {
  CommandLine command_line("tsugi", "", "");
  add_sweep(command_line.root());
  arguments.insert(arguments.begin(), "sweep");
  ::testing::internal::CaptureStdout();
  try {
    EXPECT_EQ(command_line.run(arguments), 0);
  } catch (...) {
    ::testing::internal::GetCapturedStdout();
    throw;
  }
  return ::testing::internal::GetCapturedStdout();
}

std::string refusal(const std::vector<std::string>& arguments) {
  try {
    sweep(arguments);
  } catch (const Error& error) {
    return error.what();
  }
  return "done";
}

TEST(SweepFit, PrintsTheContract) {
  const json fit = json::parse(sweep({"fit", "--csv", kChinchilla, "--columns", "n=n,d=d,loss=loss", "--form",
                                      "chinchilla", "--where", "loss < 4", "--bootstraps", "50", "--json"}));
  EXPECT_EQ(fit["form"], "chinchilla");
  EXPECT_NEAR(fit["parameters"]["alpha"].get<double>(), 0.3426, 1e-3);
  EXPECT_NEAR(fit["objective"].get<double>(), 8.400931e-4, 1e-9);
  for (const char* name : {"E", "A", "B", "alpha", "beta"}) {
    const json interval = fit["intervals"][name];
    EXPECT_LT(interval[0].get<double>(), fit["parameters"][name].get<double>()) << name;
    EXPECT_GT(interval[1].get<double>(), fit["parameters"][name].get<double>()) << name;
  }
  EXPECT_EQ(fit["starts"]["tried"], 64);
  EXPECT_EQ(fit["starts"]["agreeing"], 64);
}

TEST(SweepFit, FilterAndHoldOutShowEveryError) {
  const json fit =
      json::parse(sweep({"fit", "--csv", kChinchilla, "--hold-out", "c > 1e21", "--filter", "ratio < 100 and ratio > 3",
                         "--backtest", "--bootstraps", "20", "--budget", "1e21", "--json"}));
  for (const char* name : {"fitted", "held_out", "filtered_out", "unfiltered_fit", "unfiltered_fit_held_out"}) {
    EXPECT_GT(fit["error"][name]["mean_absolute"].get<double>(), 0.0) << name;
  }
  EXPECT_EQ(fit["held_out"].size(), fit["error"]["held_out"]["runs"].get<size_t>());
  EXPECT_EQ(fit["backtest"]["forms"].size(), 3u);
  const json advice = fit["advice"][0];
  EXPECT_NEAR(advice["n"].get<double>() * advice["d"].get<double>() * 6, 1e21, 1e15);
}

TEST(SweepFit, OtherForms) {
  const json automatic =
      json::parse(sweep({"fit", "--csv", kChinchilla, "--form", "auto", "--bootstraps", "20", "--json"}));
  EXPECT_EQ(automatic["form"], automatic["backtest"]["forms"][0]["form"]);
  const json envelope = json::parse(
      sweep({"fit", "--csv", kChinchilla, "--form", "approach1", "--bootstraps", "20", "--budget", "1e22", "--json"}));
  EXPECT_EQ(envelope["form"], "envelope");
  EXPECT_NEAR(envelope["parameters"]["a"].get<double>(), 0.5, 0.1);
  EXPECT_THAT(sweep({"fit", "--csv", kChinchilla, "--bootstraps", "20", "--backtest"}), HasSubstr("back-test"));
}

TEST(SweepPredict, WritesOnceBeforeTheRun) {
  const std::string folder = ::testing::TempDir() + "sweep_predict/";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const json fit = json::parse(
      sweep({"fit", "--csv", kChinchilla, "--backtest", "--bootstraps", "50", "--out", folder + "fit.json", "--json"}));
  const std::vector<std::string> predict{"predict", "--fit", folder + "fit.json", "--n",   "7e10", "--d",
                                         "1.4e12",  "--out", folder + "p.json",   "--json"};
  const json prediction = json::parse(sweep(predict));
  EXPECT_EQ(prediction["fit"]["hash"], fit["fit"]["hash"]);
  const json& p = fit["parameters"];
  const double loss = p["E"].get<double>() + p["A"].get<double>() / std::pow(7e10, p["alpha"].get<double>()) +
                      p["B"].get<double>() / std::pow(1.4e12, p["beta"].get<double>());
  EXPECT_NEAR(prediction["loss"].get<double>(), loss, 1e-9);
  EXPECT_LT(prediction["interval"][0].get<double>(), loss);
  EXPECT_GT(prediction["interval"][1].get<double>(), loss);
  EXPECT_EQ(prediction["other_forms"].size(), 2u);
  EXPECT_TRUE(std::filesystem::exists(folder + "p.json"));
  EXPECT_THAT(refusal(predict), HasSubstr("there is a prediction already"));
  const json best = json::parse(sweep({"predict", "--fit", folder + "fit.json", "--c", "1e22", "--json"}));
  EXPECT_NEAR(best["loss"].get<double>(), best["best_at_this_budget"]["loss"].get<double>(), 1e-9);
  EXPECT_THAT(refusal({"predict", "--fit", folder + "fit.json", "--n", "1e9"}), HasSubstr("needs n and d"));
  // 6 N D is 6e19: as is 1e20 nearly, but not 1e21.
  const auto at = [&](const char* c) {
    return refusal({"predict", "--fit", folder + "fit.json", "--n", "1e9", "--d", "1e10", "--c", c});
  };
  EXPECT_EQ(at("1e20"), "done");
  EXPECT_THAT(at("1e21"), AllOf(HasSubstr("--c 1e+21"), HasSubstr("6e+19 FLOPs"), HasSubstr("6 N D")));
  EXPECT_THAT(at("1e19"), HasSubstr("times more"));
  EXPECT_THAT(refusal({"predict", "--fit", kChinchilla, "--c", "1e22"}), HasSubstr("chinchilla_points.csv"));
  std::filesystem::remove_all(folder);
}

// Runs that count their compute otherwise than as 6 N D are advised on and predicted as they count it.
TEST(SweepFit, CountsComputeAsTheRunsDo) {
  const std::string folder = ::testing::TempDir() + "sweep_cost/";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto flops = [](double n, double d) { return 20.0 * std::pow(n, 0.95) * d; };
  std::ofstream csv(folder + "runs.csv");
  csv << "n,d,c,loss\n";
  for (const double n : {1e6, 3e6, 1e7, 3e7, 1e8}) {
    for (const double d : {1e8, 3e8, 1e9, 3e9}) {
      csv << n << "," << d << "," << flops(n, d) << "," << 1.8 + 480 / std::pow(n, 0.35) + 2000 / std::pow(d, 0.37)
          << "\n";
    }
  }
  csv.close();
  const std::vector<std::string> fit{"fit", "--csv", folder + "runs.csv", "--bootstraps", "20", "--budget", "1e18"};
  std::vector<std::string> written = fit;
  written.insert(written.end(), {"--out", folder + "fit.json", "--json"});
  const json own = json::parse(sweep(written));
  EXPECT_NEAR(own["compute"]["coefficient"].get<double>(), 20.0, 0.05);
  EXPECT_NEAR(own["compute"]["n_exponent"].get<double>(), 0.95, 1e-3);
  const json& advice = own["advice"][0];
  EXPECT_NEAR(flops(advice["n"].get<double>(), advice["d"].get<double>()), 1e18, 1e16);
  EXPECT_THAT(sweep(fit), HasSubstr("counted as the runs count it: C = 20 N^0.95 D"));

  const json run = json::parse(sweep({"predict", "--fit", folder + "fit.json", "--n", "1e8", "--d", "1e10", "--json"}));
  EXPECT_NEAR(run["c"].get<double>(), flops(1e8, 1e10), 1e16);
  const json best = json::parse(sweep({"predict", "--fit", folder + "fit.json", "--c", "1e18", "--json"}));
  EXPECT_NEAR(best["n"].get<double>(), advice["n"].get<double>(), 1e-6 * best["n"].get<double>());
  EXPECT_NEAR(best["d"].get<double>(), advice["d"].get<double>(), 1e-6 * best["d"].get<double>());
  EXPECT_THAT(sweep({"predict", "--fit", folder + "fit.json", "--c", "1e18"}), HasSubstr("C = 20 N^0.95 D"));
  // Without a column of compute there is only the rule, and the output says so.
  EXPECT_THAT(sweep({"fit", "--csv", folder + "runs.csv", "--columns", "n=n,d=d,loss=loss", "--bootstraps", "20"}),
              ::testing::AllOf(HasSubstr("counted as C = 6 N D."), HasSubstr("c is not in the table: c = 6 n d")));
  std::filesystem::remove_all(folder);
}

// Advice says how to train, too: as the runs' own rule goes on, or by the laws of a grid.
TEST(SweepFit, AdvisesOnShapeRateAndBatch) {
  const std::string path = ::testing::TempDir() + "sweep_settings.csv";
  const auto settings = [&](const std::vector<double>& rates, bool shapes) {
    std::ofstream csv(path);
    csv.precision(17);
    csv << "n,d,loss,lr,batch" << (shapes ? ",width,layers" : "") << "\n";
    for (const double width : {64.0, 128.0, 256.0, 512.0}) {
      const double layers = width / 32, n = 12 * layers * width * width;
      for (const double d : {1e8, 1e9, 1e10}) {
        const double best = 0.1 * std::pow(n, -0.25) * std::pow(d, 0.05);
        for (const double rate : rates) {
          const double off = std::log(rate);
          csv << n << "," << d << ","
              << (1.8 + 480 / std::pow(n, 0.35) + 2000 / std::pow(d, 0.37)) * (1 + 0.002 * off * off) << ","
              << best * rate << "," << 0.5 * std::pow(d, 0.5);
          if (shapes) csv << "," << width << "," << layers;
          csv << "\n";
        }
      }
    }
    csv.close();
    return json::parse(sweep({"fit", "--csv", path, "--bootstraps", "20", "--budget", "1e20", "--json"}))["advice"][0];
  };
  for (const bool grid : {false, true}) {
    const json advice =
        settings(grid ? std::vector<double>{0.4, 0.6, 0.8, 1.25, 1.7, 2.5} : std::vector<double>{1}, true);
    const double n = advice["n"], d = advice["d"], width = advice["settings"]["width"];
    EXPECT_NEAR(advice["settings"]["learning_rate"].get<double>() / (0.1 * std::pow(n, -0.25) * std::pow(d, 0.05)), 1,
                0.02);
    EXPECT_NEAR(advice["settings"]["batch"].get<double>() / (0.5 * std::pow(d, 0.5)), 1, 1e-3);
    const double layers = advice["settings"]["layers"];
    EXPECT_NEAR(12 * layers * width * width / n, 1, 0.05);
    EXPECT_NEAR(width / layers, 32, 2);
    EXPECT_EQ(std::fmod(width, 16), 0);
    EXPECT_EQ(advice["settings"]["by"], grid ? "laws of the grid" : "the runs' own rule, continued");
  }
  EXPECT_TRUE(settings({1}, false)["settings"]["width"].is_null());
  std::filesystem::remove(path);
}

// A law of N and D is fitted to isoFLOP runs whatever their minima: it must say where these are not bracketed.
TEST(SweepFit, WarnsOfMinimaAtTheEdge) {
  const std::string path = ::testing::TempDir() + "sweep_edges.csv";
  const auto warnings = [&](double least, double most) {
    std::ofstream csv(path);
    csv.precision(17);
    csv << "n,d,c,loss\n";
    for (const double c : {1e18, 4e18, 1.6e19}) {
      const double best = std::sqrt(c / 120);
      for (double share = least; share <= most * 1.001; share *= 2) {
        const double n = best * share, d = c / 6 / n;
        csv << n << "," << d << "," << c << ","
            << 1.7 + 400 / std::pow(n, 0.34) + 400 / std::pow(d, 0.34) * std::pow(20.0, 0.34) << "\n";
      }
    }
    csv.close();
    return json::parse(sweep({"fit", "--csv", path, "--bootstraps", "20", "--json"}))["warnings"].dump();
  };
  EXPECT_THAT(warnings(0.25, 4), Not(HasSubstr("edge")));
  EXPECT_THAT(warnings(2, 32), HasSubstr("at the smallest for budgets 1e+18, 4e+18, 1.6e+19 (add smaller sizes)"));
  EXPECT_THAT(warnings(1.0 / 32, 0.5), HasSubstr("at the largest for budgets 1e+18"));
  std::filesystem::remove(path);
}

TEST(SweepFit, RefusesLawsThatSayNothing) {
  const std::string path = ::testing::TempDir() + "sweep_flat.csv";
  const auto refused = [&](const std::string& form, double slope) {
    std::ofstream csv(path);
    csv.precision(17);
    csv << "n,loss\n";
    for (const double n : {1e6, 2e6, 4e6, 8e6, 1.6e7, 3.2e7})
      csv << n << "," << 3 * std::pow(n / 1e6, slope) * (1 + 1e-4 * std::cos(n)) << "\n";
    csv.close();
    return refusal({"fit", "--csv", path, "--form", form, "--bootstraps", "0", "--out", path + ".json"});
  };
  EXPECT_THAT(refused("kaplan_n", 0), HasSubstr("do not determine the law"));
  EXPECT_THAT(refused("kaplan_n", 0.1), HasSubstr("do not determine the law"));
  EXPECT_FALSE(std::filesystem::exists(path + ".json"));
  EXPECT_EQ(refused("kaplan_n", -0.05), "done");
  std::filesystem::remove(path);
  std::filesystem::remove(path + ".json");
}

TEST(SweepFit, RefusesByName) {
  EXPECT_THAT(refusal({"fit", "--csv", kChinchilla, "--form", "chinchila"}), HasSubstr("no scaling law"));
  EXPECT_THAT(refusal({"fit", "--csv", "/nonexistent.csv"}), HasSubstr("/nonexistent.csv"));
  EXPECT_THAT(refusal({"fit", "--csv", kChinchilla, "--where", "c > 1e30"}), HasSubstr("no row satisfies"));
  EXPECT_THAT(refusal({"fit", "--csv", kChinchilla, "--form", "data_constrained"}), HasSubstr("needs n, d and unique"));
  EXPECT_THAT(refusal({"fit", "--csv", kChinchilla, "--form", "isoflop", "--out", "x"}), HasSubstr("parametric"));
  EXPECT_THAT(refusal({"fit", "--csv", kChinchilla, "--fix", "gamma=1"}), HasSubstr("no parameter \"gamma\""));
}

}  // namespace
}  // namespace tsugi
