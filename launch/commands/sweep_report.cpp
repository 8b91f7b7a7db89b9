#include "launch/report/sweep_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <span>
#include <thread>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/scaling/fit/fit_file.h"
#include "launch/commands/sweep.h"
#include "launch/report/marks.h"
#include "launch/sweep/fit_json.h"
#include "launch/sweep/other_fits.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct ReportCommand {
  std::string csv;
  SweepColumns columns;
  std::string form = "auto";
  std::string fit;
  std::vector<std::string> predictions;
  std::vector<double> budgets;
  SweepFitOptions options;
  std::string title;
  std::string out;
  int threads = 0;
  bool json = false;
};

/// A report draws loss over size, tokens and compute: every run must have all three.
void require_sizes(const SweepTable& table) {
  const auto check = [&](const SweepRun& run) {
    if (std::isfinite(run.n) && std::isfinite(run.d) && std::isfinite(run.c)) return;
    throw Error(ExitCode::kData,
                table.runs.origin + ": " + run.name + ": a report needs two of n, d and c of every run",
                "name the columns: --columns n=COLUMN,d=COLUMN,loss=COLUMN");
  };
  for (const SweepRun& run : table.runs.runs) check(run);
  for (const SweepRun& run : table.filtered_out) check(run);
}

std::vector<ExcludedRun> excluded_runs(const CsvTable& csv, const SweepTable& table, const SweepColumns& columns) {
  std::set<std::string> used;
  for (const SweepRun& run : table.runs.runs) used.insert(run.name);
  for (const SweepRun& run : table.filtered_out) used.insert(run.name);
  const int64_t name = csv.find_column("name"), status = csv.find_column("status");
  std::vector<ExcludedRun> excluded;
  for (size_t row = 0; row < csv.rows.size(); ++row) {
    const std::string line = "line " + std::to_string(csv.lines[row]);
    const std::string called = name < 0 ? line : csv.rows[row][static_cast<size_t>(name)];
    if (used.contains(line) || used.contains(called)) continue;
    std::string reason = "does not satisfy " + columns.where;
    if (status >= 0) reason += " (status " + csv.rows[row][static_cast<size_t>(status)] + ")";
    excluded.push_back({called, reason});
  }
  for (const SweepRun& run : table.filtered_out) {
    excluded.push_back({run.name, "not fitted: does not satisfy " + columns.filter});
  }
  return excluded;
}

/// The columns that play no role, by the names of runs; with seconds, also the rate that they were computed at.
void read_other_columns(const CsvTable& csv, const SweepColumns& columns, SweepReport& report) {
  constexpr size_t kMost = 32;
  std::set<std::string> taken = {"status", "held_out"};
  if (columns.columns.empty()) {
    taken.insert({"n", "d", "c", "loss", "unique", "steps", "batch", "lr", "name", "run"});
  } else {
    for (const std::string& part : parse_csv_line(columns.columns, "--columns")) {
      const std::string column = part.substr(part.find('=') + 1);
      taken.insert(column.substr(0, csv.find_column(column) >= 0 ? std::string::npos : column.rfind('*')));
    }
  }
  std::vector<size_t> others;
  for (size_t i = 0; i < csv.header.size() && others.size() < kMost; ++i) {
    if (!taken.contains(csv.header[i])) others.push_back(i);
  }
  for (const size_t i : others) report.other_columns.push_back(csv.header[i]);
  const int64_t name = csv.find_column("name"), seconds = csv.find_column("seconds");
  if (seconds >= 0) report.other_columns.emplace_back("FLOP/s");
  std::map<std::string, double> compute;
  for (const SweepRun& run : report.table.runs.runs) compute[run.name] = run.c;
  for (const SweepRun& run : report.table.filtered_out) compute[run.name] = run.c;
  const int64_t own = csv.find_column("c_own");  // a branch was trained for its own steps only
  for (size_t row = 0; row < csv.rows.size(); ++row) {
    const std::string line = "line " + std::to_string(csv.lines[row]);
    const std::string called = name >= 0 && !compute.contains(line) ? csv.rows[row][static_cast<size_t>(name)] : line;
    if (!compute.contains(called)) continue;
    std::vector<std::string> cells;
    for (const size_t i : others) cells.push_back(csv.rows[row][i]);
    if (seconds >= 0) {
      double taken_seconds = 0.0;
      const bool known = parse_csv_number(csv.rows[row][static_cast<size_t>(seconds)], taken_seconds);
      double flops = compute[called];
      if (own >= 0) parse_csv_number(csv.rows[row][static_cast<size_t>(own)], flops);
      cells.push_back(known && taken_seconds > 0.0 ? short_number(flops / taken_seconds) : "");
    }
    report.others[called] = std::move(cells);
  }
}

void add_provenance(const ReportCommand& command, const CsvTable& csv, SweepReport& report) {
  const auto add = [&](const char* what, const std::string& value) {
    if (!value.empty()) report.provenance.emplace_back(what, value);
  };
  const std::string text = read_file(command.csv, int64_t{1} << 30);
  char hash[24];
  std::snprintf(hash, sizeof hash, "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(text.data(), text.size())))));
  add("table", fs::path(command.csv).filename().string());
  add("its XXH64", hash);
  add("rows", std::to_string(csv.rows.size()));
  add("columns", command.columns.columns);
  add("rows read", command.columns.where);
  add("rows fitted", command.columns.filter);
  add("rows held out", command.columns.hold_out);
  if (report.has_law()) {
    add("form", std::string(report.fit.fit.law->name) + (!command.fit.empty()     ? ", from " + command.fit
                                                         : command.form == "auto" ? ", the best of the back-test"
                                                                                  : ", as asked for"));
    add("fit", report.fit_hash);
    add("bootstrap", std::to_string(report.fit.bootstrap.samples.size()) + " replicates, seed " +
                         std::to_string(report.fit.bootstrap.seed));
    add("compute", cost_text(report.cost));
  } else {
    add("form", "none: these runs determine no law");
  }
  double flops = 0.0, seconds = 0.0;
  for (const SweepRun& run : report.table.runs.runs) flops += run.c;
  add("all runs", scientific_text(flops) + " FLOP");
  if (const int64_t column = csv.find_column("seconds"); column >= 0) {
    for (const auto& row : csv.rows) {
      double one = 0.0;
      if (parse_csv_number(row[static_cast<size_t>(column)], one) && std::isfinite(one)) seconds += one;
    }
    add("time of all rows", short_number(seconds) + " s, one after another");
  }
}

/// The run of that size and length, within 1 %.
const SweepRun* run_like(const SweepTable& table, double n, double d) {
  const SweepRun* found = nullptr;
  double nearest = 0.01;
  for (const SweepRun& run : table.runs.runs) {
    const double distance = std::max(std::abs(run.n / n - 1.0), std::abs(run.d / d - 1.0));
    if (distance > nearest) continue;
    nearest = distance;
    found = &run;
  }
  return found;
}

WrittenPrediction prediction_of(const std::string& path, const SweepTable& table) {
  WrittenPrediction prediction = read_prediction(path);
  if (const SweepRun* run = run_like(table, prediction.n, prediction.d)) {
    prediction.run = run->name;
    prediction.actual = run->loss;
  }
  return prediction;
}

void require_law_of_both(const Law& law) {
  if ((law.inputs & (kInputN | kInputD)) == (kInputN | kInputD) && (law.inputs & (kInputSteps | kInputBatch)) == 0) {
    return;
  }
  throw Error(ExitCode::kUsage,
              std::string("a report needs a law of n and d, and ") + law.name + " is one of " + inputs_text(law.inputs),
              "--form chinchilla, or auto");
}

/// The law that was asked for or ranks first; what it takes is told in law_refusal and law_hint.
void fit_report_law(const ReportCommand& command, const std::vector<SweepRun>& runs,
                    const std::vector<SweepRun>& held_out, SweepReport& report, ThreadPool& pool) {
  FitOptions quick = command.options.fit;
  quick.starts = std::min(quick.starts, 32);
  report.ranking = backtest(comparable_laws(runs), runs, held_out, quick, pool);
  const BacktestForm& best = report.ranking.forms.front();
  // Where all are refused, the simplest law of both says why, and what to add.
  const Law& law = command.form != "auto" ? law_by_name(command.form)
                   : best.refused.empty() ? *best.law
                                          : law_by_name("chinchilla");
  require_law_of_both(law);
  try {
    report.fit = fit_sweep(law, report.table.runs, command.options, pool);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kData) throw;
    report.law_refusal = error.what();
    report.law_hint = error.hint().empty() ? "more runs, of more sizes and token counts" : error.hint();
  }
}

SweepReport analyse(const ReportCommand& command, ThreadPool& pool) {
  SweepReport report;
  const CsvTable csv = read_csv(command.csv);
  report.table = read_sweep(csv, command.columns);
  require_sizes(report.table);
  report.title = command.title.empty() ? "Scaling report: " + fs::path(command.csv).filename().string() : command.title;
  report.excluded = excluded_runs(csv, report.table, command.columns);
  const std::vector<SweepRun> runs = fitted_runs(report.table.runs), held_out = held_out_runs(report.table.runs);
  if (command.fit.empty()) {
    fit_report_law(command, runs, held_out, report, pool);
  } else {
    FitOptions quick = command.options.fit;
    quick.starts = std::min(quick.starts, 32);
    report.ranking = backtest(comparable_laws(runs), runs, held_out, quick, pool);
    const FitFile file = load_fit(command.fit);
    require_law_of_both(*file.fit.fit.law);
    report.fit = file.fit;
    report.fit_hash = file.hash;
  }
  try {
    report.isoflop = fit_isoflop(runs, {command.options.bootstraps, command.options.seed, command.options.level}, pool);
  } catch (const Error& error) {  // a grid or a ladder has no budgets: the page says so where the curves would be
    if (error.code() != ExitCode::kData) throw;
    report.isoflop_refusal = error.what();
    try {
      report.budgets = judge_budgets(runs);
    } catch (const Error& no_budgets) {
      if (no_budgets.code() != ExitCode::kData) throw;
    }
  }
  for (const std::string& path : command.predictions) {
    report.predictions.push_back(prediction_of(path, report.table));
  }
  if (report.has_law()) {
    follow_optimum(report, command.budgets);
    for (const Advice& one : report.advice) {
      report.settings.push_back(advised_settings(csv, runs, one.best.n, one.best.d));
    }
    report.exponents = estimate_exponents(csv, report.table.runs, report.fit, report.ranking, command.options, pool);
  }
  read_other_columns(csv, command.columns, report);
  add_provenance(command, csv, report);
  return report;
}

ordered_json report_json(const ReportCommand& command, const SweepReport& report, const std::string& folder) {
  ordered_json json;
  if (report.has_law()) {
    const std::vector<SweepRun> held_out = held_out_runs(report.table.runs);
    json = fit_json(report.fit);
    json["error"]["fitted"] = error_json(relative_error(report.fit.fit, fitted_runs(report.table.runs)));
    if (!held_out.empty()) json["error"]["held_out"] = error_json(relative_error(report.fit.fit, held_out));
  } else {
    json = {{"form", nullptr}, {"refused", report.law_refusal}, {"hint", report.law_hint}};
  }
  json["warnings"] = report.table.runs.warnings;
  json["backtest"] = backtest_json(report.ranking);
  if (report.isoflop) json["isoflop"] = compute_optimal_json(*report.isoflop, command.options.level);
  json["out"] = command.out;
  json["data"] = folder;
  return json;
}

void print_law(const SweepReport& report) {
  print_fit(std::cout, report.fit);
  for (const SweepRun& run : held_out_runs(report.table.runs)) {
    const Prediction prediction = predict_loss(report.fit, run);
    std::cout << "held out " << run.name << ": loss " << short_number(run.loss) << ", predicted "
              << short_number(prediction.loss) << " " << short_interval(prediction.interval) << ", "
              << percent(prediction.loss / run.loss - 1.0) << "\n";
  }
  print_backtest(std::cout, report.ranking);
  for (size_t i = 0; i < report.advice.size(); ++i) {
    print_advice(std::cout, report.advice[i]);
    const std::string how = settings_text(report.settings[i]);
    if (!how.empty()) std::cout << "  trained with      " << how << "\n";
  }
}

int run_report(const ReportCommand& command) {
  if (command.form != "auto") require_law_of_both(law_by_name(command.form));
  ThreadPool pool(command.threads > 0 ? command.threads
                                      : static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  const SweepReport report = analyse(command, pool);
  const RenderedReport rendered = render_report(report);
  const fs::path out(command.out);
  const fs::path folder = out.parent_path() / (out.stem().string() + "_data");
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) throw Error(ExitCode::kInputOutput, "cannot create " + folder.string() + ": " + failed.message());
  for (const auto& [name, text] : rendered.data) write_file_durably((folder / name).string(), text);
  write_file_durably(command.out, rendered.html);

  if (command.json) {
    std::cout << report_json(command, report, folder.string()).dump() << std::endl;
    return 0;
  }
  if (report.has_law()) {
    print_law(report);
  } else {
    std::cout << "no law could be fitted: " << report.law_refusal << "\nwhat to add: " << report.law_hint << "\n";
  }
  for (const std::string& warning : report.table.runs.warnings) std::cout << "warning: " << warning << "\n";
  if (!report.isoflop) std::cout << "no isoFLOP curves: " << report.isoflop_refusal << "\n";
  std::cout << "written to " << command.out << ", its numbers to " << folder.string() << "/\n";
  return 0;
}

}  // namespace

void add_sweep_report(Command sweep) {
  auto command = std::make_shared<ReportCommand>();
  Command app = sweep.subcommand("report", "Plots and tables of a sweep as one HTML page");
  app.option("--csv", command->csv, "one row per run").required();
  app.option("--out", command->out, "the page; its numbers go to a folder beside it, NAME_data/").required();
  app.option("--columns", command->columns.columns, "as for sweep fit: ROLE=COLUMN,…");
  app.option("--where", command->columns.where, "rows to read; the others are listed as left out");
  app.option("--hold-out", command->columns.hold_out, "rows to predict and never fit: \"c > 1e21\"");
  app.option("--filter", command->columns.filter, "rows to fit; the others are drawn as rings");
  const Option form =
      app.option("--form", command->form, "auto (best by back-test), or a law of n and d").show_default();
  Option fit = app.option("--fit", command->fit, "what sweep fit --out wrote, instead of fitting now");
  fit.excludes(form);
  app.option("--prediction", command->predictions, "what sweep predict --out wrote: before and after");
  app.option("--budget", command->budgets, "FLOPs to advise on").positive().take_all();
  app.option("--title", command->title, "of the page");
  app.option("--bootstraps", command->options.bootstraps, "resampled refits for the intervals")
      .range(20, 100000)
      .show_default();
  app.option("--seed", command->options.seed, "of the resampling").show_default();
  app.option("--level", command->options.level, "of the intervals").range(0.5, 0.999).show_default();
  app.option("--threads", command->threads, "0: all cores; results do not depend on it").range(0, 1024).show_default();
  app.flag("--json", command->json, "print the result as one JSON object, and nothing else");
  app.run([command] { return run_report(*command); });
}

}  // namespace tsugi
