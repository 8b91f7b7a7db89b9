#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/scaling/data/read_sweep.h"
#include "core/scaling/fit/backtest.h"
#include "core/scaling/fit/fit_file.h"
#include "core/scaling/fit/hyperparameters.h"
#include "core/scaling/fit/isoflop.h"
#include "launch/commands/sweep.h"
#include "launch/sweep/advised_settings.h"
#include "launch/sweep/fit_json.h"
#include "launch/sweep/other_fits.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using nlohmann::ordered_json;

struct FitCommand {
  std::string csv;
  SweepColumns columns;
  std::string form = "chinchilla";
  std::string objective = "huber";
  std::vector<std::string> fixed;
  std::vector<double> budgets;
  double unique = RunPoint::kUnknown;
  SweepFitOptions options;
  bool backtest = false;
  std::string out;
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

void show(const FitCommand& command, const ordered_json& json, const std::string& text) {
  if (command.json) {
    std::cout << json.dump() << std::endl;
    return;
  }
  std::cout << text;
  for (const auto& note : json["notes"]) std::cout << "note: " << note.get<std::string>() << "\n";
  for (const auto& warning : json["warnings"]) std::cout << "warning: " << warning.get<std::string>() << "\n";
}

/// What is to be known of the table, and what to beware of in it and in its fit.
void add_remarks(ordered_json& json, const SweepTable& table, const std::vector<std::string>& of_fit) {
  json["notes"] = table.runs.notes;
  json["warnings"] = table.runs.warnings;
  for (const std::string& warning : of_fit) json["warnings"].push_back(warning);
}

/// Errors on the fitted, the held-out and the filtered-out runs, and those of a fit without the filter.
ordered_json errors(const FitCommand& command, const SweepTable& table, const Fit& fit, ThreadPool& pool) {
  const std::vector<SweepRun> runs = fitted_runs(table.runs), held_out = held_out_runs(table.runs);
  ordered_json json{{"fitted", error_json(relative_error(fit, runs))}};
  if (!held_out.empty()) json["held_out"] = error_json(relative_error(fit, held_out));
  if (table.filtered_out.empty()) return json;
  std::vector<SweepRun> all = runs;
  all.insert(all.end(), table.filtered_out.begin(), table.filtered_out.end());
  const Fit unfiltered = fit_law(*fit.law, all, command.options.fit, pool);
  json["filtered_out"] = error_json(relative_error(fit, table.filtered_out));
  json["unfiltered_fit"] = error_json(relative_error(unfiltered, all));
  if (!held_out.empty()) json["unfiltered_fit_held_out"] = error_json(relative_error(unfiltered, held_out));
  return json;
}

ordered_json held_out_json(const SweepFit& fit, std::span<const SweepRun> held_out) {
  ordered_json json = ordered_json::array();
  for (const SweepRun& run : held_out) {
    const Prediction prediction = predict_loss(fit, run);
    json.push_back({{"run", run.name},
                    {"n", json_number(run.n)},
                    {"d", json_number(run.d)},
                    {"loss", run.loss},
                    {"predicted", prediction.loss},
                    {"interval", json_interval(prediction.interval)},
                    {"inside", prediction.interval.low <= run.loss && run.loss <= prediction.interval.high},
                    {"error", prediction.loss / run.loss - 1.0}});
  }
  return json;
}

void fit_parametric(const FitCommand& command, const CsvTable& csv, const SweepTable& table, ThreadPool& pool) {
  const std::vector<SweepRun> runs = fitted_runs(table.runs), held_out = held_out_runs(table.runs);
  Backtest ranking;
  std::string form = command.form;
  if (form == "auto" || command.backtest) {
    const std::vector<const Law*> laws = comparable_laws(runs);
    FitOptions quick = command.options.fit;
    quick.starts = std::min(quick.starts, 32);
    ranking = backtest(laws, runs, held_out, quick, pool);
    if (form == "auto" && !ranking.forms.front().refused.empty()) {
      throw Error(ExitCode::kData, ranking.forms.front().refused, "more runs, of more sizes and token counts");
    }
    if (form == "auto") form = ranking.forms.front().law->name;
  }
  const Law& law = law_by_name(form);
  const SweepFit fit = fit_sweep(law, table.runs, command.options, pool);

  ordered_json json = fit_json(fit);
  json["r_squared"] = r_squared(fit.fit, runs);
  json["error"] = errors(command, table, fit.fit, pool);
  if (!held_out.empty()) json["held_out"] = held_out_json(fit, held_out);
  std::ostringstream text;
  print_fit(text, fit);
  print_errors(text, json);
  FitFile file;
  if (!ranking.forms.empty()) {
    json["backtest"] = backtest_json(ranking);
    print_backtest(text, ranking);
    for (const BacktestForm& one : ranking.forms) {
      if (one.refused.empty()) {
        file.rivals.push_back({one.law, one.theta, ranking.cuts.empty() ? RunPoint::kUnknown : one.mean});
      }
    }
  }
  describe_runs(file, runs);
  json["compute"] = cost_json(file.cost);
  if (law.inputs != kInputC) text << cost_text(file.cost) << "\n";
  for (const double c : command.budgets) {
    const Advice advice = advise(fit, c, file.c.high, command.unique, file.cost);
    const AdvisedSettings settings = advised_settings(csv, runs, advice.best.n, advice.best.d);
    json["advice"].push_back(advice_json(advice));
    json["advice"].back()["settings"] = settings_json(settings);
    text << "\n";
    print_advice(text, advice);
    if (const std::string how = settings_text(settings); !how.empty()) text << "  trained with      " << how << "\n";
  }
  add_remarks(json, table, fit.fit.warnings);
  if (!command.out.empty()) {
    file.fit = fit;
    const std::string hash = save_fit(command.out, file, json);
    json["fit"] = {{"file", command.out}, {"hash", hash}};
    text << "\nwritten to " << command.out << ", fit " << hash << "\n";
  }
  show(command, json, text.str());
}

void fit_optimum(const FitCommand& command, const SweepTable& table, bool envelope, ThreadPool& pool) {
  const std::vector<SweepRun> runs = fitted_runs(table.runs);
  const IsoflopOptions options{command.options.bootstraps, command.options.seed, command.options.level};
  const ComputeOptimal fit = envelope ? fit_envelope(runs, options, pool) : fit_isoflop(runs, options, pool);
  ordered_json json = compute_optimal_json(fit, options.level);
  std::ostringstream text;
  print_compute_optimal(text, fit);
  for (const double c : command.budgets) {
    const ComputeOptimalAdvice advice = advise(fit, c, options.level);
    json["advice"].push_back(advice_json(advice));
    print_advice(text, advice);
  }
  add_remarks(json, table, fit.warnings);
  show(command, json, text.str());
}

void fit_rates(const FitCommand& command, const SweepTable& table) {
  const HyperparameterFit fit = fit_hyperparameters(fitted_runs(table.runs), command.options.bootstraps,
                                                    command.options.seed, command.options.level);
  ordered_json json = hyperparameters_json(fit, command.options.level);
  add_remarks(json, table, fit.warnings);
  std::ostringstream text;
  print_hyperparameters(text, fit);
  show(command, json, text.str());
}

int run_fit(FitCommand command) {
  if (command.objective == "squares") {
    command.options.fit.objective = {HUGE_VAL, true};
  } else if (command.objective == "log_squares") {
    command.options.fit.objective.delta = HUGE_VAL;
  }
  for (const std::string& one : command.fixed) command.options.fit.fixed.push_back(parse_fixed(one));
  const bool envelope = command.form == "envelope" || command.form == "approach1";
  const bool isoflop = command.form == "isoflop" || command.form == "approach2";
  const bool rates = command.form == "hyperparameters";
  const bool parametric = !envelope && !isoflop && !rates;
  if (parametric && command.form != "auto") law_by_name(command.form);  // before anything is read
  if (!parametric && (!command.out.empty() || command.backtest || !command.fixed.empty())) {
    throw Error(ExitCode::kUsage, "--out, --backtest and --fix are for parametric forms, not for " + command.form,
                "--form chinchilla predicts the loss of any run");
  }
  const CsvTable csv = read_csv(command.csv);
  const SweepTable table = read_sweep(csv, command.columns);
  ThreadPool pool(command.threads > 0 ? command.threads
                                      : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  if (parametric) {
    fit_parametric(command, csv, table, pool);
  } else if (rates) {
    fit_rates(command, table);
  } else {
    fit_optimum(command, table, envelope, pool);
  }
  return 0;
}

}  // namespace

void add_sweep_fit(Command sweep) {
  auto command = std::make_shared<FitCommand>();
  Command app = sweep.subcommand("fit", "Fit a scaling law to the runs of a CSV file");
  app.option("--csv", command->csv, "one row per run").required();
  app.option("--columns", command->columns.columns,
             "ROLE=COLUMN,…; roles: n d c loss unique steps batch lr name run; COLUMN*1e9 for billions");
  app.option("--where", command->columns.where, "rows to read: \"loss < 4 and d >= 1e9\"");
  app.option("--hold-out", command->columns.hold_out, "rows to predict and never fit: \"c > 1e21\"");
  app.option("--filter", command->columns.filter, "rows to fit; the errors on the others are shown too");
  std::string forms = "auto (best by back-test), envelope, isoflop, hyperparameters";
  for (const Law& law : all_laws()) forms.append(", ").append(law.name);
  app.option("--form", command->form, forms).show_default();
  app.option("--objective", command->objective, "huber or squares of ln L residuals, or squares of L")
      .one_of({"huber", "log_squares", "squares"})
      .show_default();
  app.option("--delta", command->options.fit.objective.delta, "Huber's threshold on ln L").positive().show_default();
  app.option("--fix", command->fixed, "a parameter that is known: alpha=0.34").take_all();
  app.option("--starts", command->options.fit.starts, "local searches").range(1, 10000).show_default();
  app.option("--bootstraps", command->options.bootstraps, "resampled refits for the intervals")
      .range(0, 100000)
      .show_default();
  app.option("--seed", command->options.seed, "of the resampling").show_default();
  app.option("--level", command->options.level, "of the intervals").range(0.5, 0.999).show_default();
  app.flag("--backtest", command->backtest, "rank the forms: fit cheap runs, predict expensive ones");
  app.option("--budget", command->budgets, "FLOPs to advise on").positive().take_all();
  app.option("--unique-tokens", command->unique, "distinct tokens at hand, for advice by data_constrained").positive();
  app.option("--out", command->out, "the fit as a file for sweep predict");
  app.option("--threads", command->threads, "0: all cores; results do not depend on it").range(0, 1024).show_default();
  app.flag("--json", command->json, "print the result as one JSON object, and nothing else");
  app.run([command] { return run_fit(*command); });
}

}  // namespace tsugi
