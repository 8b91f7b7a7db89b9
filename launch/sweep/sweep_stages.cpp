#include "launch/sweep/sweep_stages.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <span>
#include <thread>

#include "core/data/file.h"
#include "core/data/hash.h"
#include "core/downstream/baselines.h"
#include "core/scaling/advice/allocation.h"
#include "core/scaling/data/read_sweep.h"
#include "core/scaling/fit/fit_file.h"
#include "core/scaling/plan/centred_sizes.h"
#include "launch/sweep/fit_json.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// The law, and how its runs count compute and how far they go.
FitFile fit_first_stage(const std::string& path) {
  if (path.ends_with(".json")) return load_fit(path);
  const CsvTable csv = read_csv(path);
  SweepColumns columns;
  if (csv.find_column("status") >= 0) columns.where = "status == 'done'";
  if (csv.find_column("held_out") >= 0) columns.hold_out = "held_out == 1";
  const RunTable table = read_sweep(csv, columns).runs;
  const std::vector<SweepRun> runs = fitted_runs(table);
  ThreadPool pool(static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  FitFile file;
  file.fit.fit = fit_law(law_by_name("chinchilla"), runs, {}, pool);
  require_meaning(file.fit.fit);
  describe_runs(file, runs);
  return file;
}

}  // namespace

void centre_on_first_stage(SweepConfig& sweep, const std::string& origin, const std::string& beside,
                           const RunConfig& base, std::vector<std::string>& notes) {
  const bool centred =
      std::ranges::any_of(sweep.budgets(), [](const BudgetConfig& budget) { return budget.centred_sizes() > 0; });
  if (!centred && sweep.first_stage().empty()) return;
  if (!centred) {
    throw Error(ExitCode::kUsage, origin + ": first_stage is given, but no budget has centred_sizes",
                "budgets { flops: 1e13 centred_sizes: 5 }");
  }
  if (sweep.first_stage().empty()) {
    throw Error(ExitCode::kUsage, origin + ": a budget has centred_sizes, but there is no first_stage",
                "first_stage: \"runs.csv\" of an earlier sweep, or what `tsugi sweep fit --out` wrote");
  }
  const std::string path = (std::filesystem::path(beside) / sweep.first_stage()).lexically_normal().string();
  FitFile file;
  try {
    file = fit_first_stage(path);
  } catch (const Error& error) {
    throw Error(error.code(), origin + ": first_stage: " + error.what(), error.hint());
  }
  const Fit& fit = file.fit.fit;
  notes.push_back("sizes by " + std::string(fit.law->name) + "'s law of " + path + ". " + cost_text(file.cost));
  const auto optimum = [&](double flops) {
    return allocate(*fit.law, fit.theta, flops, RunPoint::kUnknown, file.cost).n;
  };
  centre_sizes(sweep, origin, base, optimum, notes);
  double largest = 0.0;
  for (const BudgetConfig& budget : sweep.budgets()) largest = std::max(largest, budget.flops());
  if (largest > 10.0 * file.c.high) {
    notes.push_back("warning: the largest budget is " + short_number(largest / file.c.high) +
                    " times the largest run of the first stage: beyond ten times laws disagree");
  }
}

DownstreamFacts read_downstream_facts(const DownstreamConfig& task, const std::string& origin) {
  DownstreamFacts facts;
  if (task.train().empty() && task.validation().empty()) return facts;
  if (task.train().empty() || task.validation().empty()) {
    throw Error(ExitCode::kUsage, origin + ": downstream." + (task.train().empty() ? "train" : "validation") +
                                      " is missing: a task is learnt from one file and judged on the other");
  }
  constexpr int64_t kLargestTask = int64_t{1} << 30;
  std::vector<std::string> labels;
  for (const std::string* path : {&task.train(), &task.validation()}) {
    const bool first = path == &task.train();
    if (!std::filesystem::exists(*path)) {
      throw Error(ExitCode::kUsage,
                  origin + ": downstream." + (first ? "train" : "validation") + ": there is no " + *path,
                  "paths begin where the program is started; --set sweep.downstream.train=FILE names another");
    }
    const size_t examples = read_labelled_jsonl(*path, labels, first).size();
    if (first) facts.examples = static_cast<int64_t>(examples);
    const std::string text = read_file(*path, kLargestTask);
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016llx",
                  static_cast<unsigned long long>(hash64(std::as_bytes(std::span(text.data(), text.size())))));
    facts.fingerprint += digits;
  }
  return facts;
}

}  // namespace tsugi
