#include "core/scaling/fit/sweep_fit.h"

#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/scaling/data/read_sweep.h"
#include "launch/commands/sweep.h"
#include "launch/sweep/fit_json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

struct FitCommand {
  std::string csv;
  SweepColumns columns;
  std::string form = "chinchilla";
  std::string objective = "huber";
  std::vector<std::string> fixed;
  std::vector<double> budgets;
  double unique = RunPoint::kUnknown;
  SweepFitOptions options;
  int threads = 0;
  bool json = false;
};

std::pair<std::string, double> parse_fixed(const std::string& text) {
  const size_t equals = text.find('=');
  double value = 0.0;
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size() ||
      !parse_csv_number(std::string_view(text).substr(equals + 1), value)) {
    throw Error(ExitCode::kUsage, "--fix: \"" + text + "\" is not NAME=VALUE", "--fix alpha=0.34");
  }
  return {text.substr(0, equals), value};
}

double largest_c(std::span<const SweepRun> runs) {
  double largest = 0.0;
  for (const SweepRun& run : runs) largest = std::max(largest, std::isnan(run.c) ? 0.0 : run.c);
  return largest;
}

int run_fit(FitCommand command) {
  if (command.objective == "squares") {
    command.options.fit.objective = {HUGE_VAL, true};
  } else if (command.objective == "log_squares") {
    command.options.fit.objective.delta = HUGE_VAL;
  }
  for (const std::string& one : command.fixed) command.options.fit.fixed.push_back(parse_fixed(one));
  const Law& law = law_by_name(command.form);
  const SweepTable table = read_sweep(read_csv(command.csv), command.columns);
  ThreadPool pool(command.threads > 0 ? command.threads
                                      : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  const std::vector<SweepRun> runs = fitted_runs(table.runs);
  const std::vector<SweepRun> held_out = held_out_runs(table.runs);
  const SweepFit fit = fit_sweep(law, table.runs, command.options, pool);

  nlohmann::ordered_json json = fit_json(fit);
  json["error"] = {{"fitted", error_json(relative_error(fit.fit, runs))}};
  json["r_squared"] = r_squared(fit.fit, runs);
  std::vector<Advice> advice;
  for (const double c : command.budgets) advice.push_back(advise(fit, c, largest_c(runs), command.unique));
  nlohmann::ordered_json held_out_json = nlohmann::ordered_json::array();
  for (const SweepRun& run : held_out) {
    const Prediction prediction = predict_loss(fit, run);
    held_out_json.push_back({{"run", run.name},
                             {"n", json_number(run.n)},
                             {"d", json_number(run.d)},
                             {"loss", run.loss},
                             {"predicted", prediction.loss},
                             {"interval", json_interval(prediction.interval)},
                             {"error", prediction.loss / run.loss - 1.0}});
  }
  if (!held_out.empty()) {
    json["error"]["held_out"] = error_json(relative_error(fit.fit, held_out));
    json["held_out"] = held_out_json;
  }
  if (!table.filtered_out.empty()) {
    std::vector<SweepRun> all = runs;
    all.insert(all.end(), table.filtered_out.begin(), table.filtered_out.end());
    const Fit unfiltered = fit_law(law, all, command.options.fit, pool);
    json["error"]["filtered_out"] = error_json(relative_error(fit.fit, table.filtered_out));
    json["error"]["unfiltered_fit"] = error_json(relative_error(unfiltered, all));
    if (!held_out.empty()) json["error"]["unfiltered_fit_held_out"] = error_json(relative_error(unfiltered, held_out));
  }
  for (const Advice& one : advice) json["advice"].push_back(advice_json(one));
  json["notes"] = table.runs.notes;
  json["warnings"] = fit.fit.warnings;
  if (command.json) {
    std::cout << json.dump() << std::endl;
    return 0;
  }
  print_fit(std::cout, fit);
  std::cout << "\nmean |error| of loss\n";
  for (const auto& [name, error] : json["error"].items()) {
    std::cout << "  " << name << ": " << percent(error["mean_absolute"]) << ", largest " << percent(error["largest"])
              << " (" << error["runs"] << " runs)\n";
  }
  for (const auto& one : held_out_json) {
    std::cout << "  " << one["run"].get<std::string>() << ": measured " << short_number(one["loss"]) << ", predicted "
              << short_number(one["predicted"]) << " (" << percent(one["error"]) << ")\n";
  }
  for (const Advice& one : advice) {
    std::cout << "\n";
    print_advice(std::cout, one);
  }
  for (const std::string& note : table.runs.notes) std::cout << "note: " << note << "\n";
  for (const std::string& warning : fit.fit.warnings) std::cout << "warning: " << warning << "\n";
  return 0;
}

}  // namespace

void add_sweep_fit(CLI::App& sweep, int& exit_code) {
  auto command = std::make_shared<FitCommand>();
  CLI::App* app = sweep.add_subcommand("fit", "Fit a scaling law to the runs of a CSV file");
  app->add_option("--csv", command->csv, "one row per run")->required();
  app->add_option("--columns", command->columns.columns,
                  "ROLE=COLUMN,…; roles: n d c loss unique steps batch lr name run; COLUMN*1e9 for billions");
  app->add_option("--where", command->columns.where, "rows to read: \"loss < 4 and d >= 1e9\"");
  app->add_option("--hold-out", command->columns.hold_out, "rows to predict and never fit: \"c > 1e21\"");
  app->add_option("--filter", command->columns.filter, "rows to fit; the errors on the others are shown too");
  app->add_option("--form", command->form, "chinchilla, kaplan, kaplan_irreducible, data_constrained, …")
      ->capture_default_str();
  app->add_option("--objective", command->objective, "huber or squares of ln L residuals, or squares of L")
      ->check(CLI::IsMember({"huber", "log_squares", "squares"}))
      ->capture_default_str();
  app->add_option("--delta", command->options.fit.objective.delta, "Huber's threshold on ln L")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app->add_option("--fix", command->fixed, "a parameter that is known: alpha=0.34")->take_all();
  app->add_option("--starts", command->options.fit.starts, "local searches")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  app->add_option("--bootstraps", command->options.bootstraps, "resampled refits for the intervals")
      ->check(CLI::Range(0, 100000))
      ->capture_default_str();
  app->add_option("--seed", command->options.seed, "of the resampling")->capture_default_str();
  app->add_option("--level", command->options.level, "of the intervals")
      ->check(CLI::Range(0.5, 0.999))
      ->capture_default_str();
  app->add_option("--budget", command->budgets, "FLOPs to advise on")->check(CLI::PositiveNumber)->take_all();
  app->add_option("--unique-tokens", command->unique, "distinct tokens at hand, for advice by data_constrained")
      ->check(CLI::PositiveNumber);
  app->add_option("--threads", command->threads, "0: all cores")->check(CLI::Range(0, 1024))->capture_default_str();
  app->add_flag("--json", command->json, "print the result as one JSON object, and nothing else");
  app->callback([command, &exit_code] { exit_code = run_fit(*command); });
}

}  // namespace tsugi
