#include "launch/report/exponents.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <optional>

#include "core/scaling/advice/allocation.h"
#include "core/scaling/fit/isoflop.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr int kBootstraps = 200;  // of each alternative: enough for an interval to look at

double middle_compute(const std::vector<SweepRun>& runs) {
  double sum = 0.0;
  for (const SweepRun& run : runs) sum += std::log(run.c);
  return std::exp(sum / static_cast<double>(runs.size()));
}

/// Runs by name with their n from another column; nothing when a run has none there or all are as they were.
std::optional<std::vector<SweepRun>> with_column(const CsvTable& csv, std::vector<SweepRun> runs,
                                                 const std::string& column) {
  const int64_t names = csv.find_column("name"), values = csv.find_column(column);
  if (names < 0 || values < 0) return std::nullopt;
  std::map<std::string, double> by_name;
  for (const std::vector<std::string>& row : csv.rows) {
    double value = 0.0;
    if (parse_csv_number(row[static_cast<size_t>(values)], value)) by_name[row[static_cast<size_t>(names)]] = value;
  }
  bool differs = false;
  for (SweepRun& run : runs) {
    const auto found = by_name.find(run.name);
    if (found == by_name.end() || !(found->second > 0.0)) return std::nullopt;
    differs = differs || std::abs(found->second / run.n - 1.0) > 1e-3;
    run.n = found->second;
  }
  return differs ? std::optional(runs) : std::nullopt;
}

class Estimates {
 public:
  Estimates(const SweepFitOptions& options, ThreadPool& pool) : options_(options), pool_(pool) {
    options_.bootstraps = std::min(options_.bootstraps, kBootstraps);
    options_.fit.starts = std::min(options_.fit.starts, 32);
    options_.profiles = false;
  }

  /// What a command would refuse stands in the list with the reason.
  void add(const std::string& group, const std::string& name, const std::function<void(ExponentEstimate&)>& estimate) {
    ExponentEstimate one;
    one.group = group;
    one.name = name;
    try {
      estimate(one);
    } catch (const Error& error) {
      if (error.code() != ExitCode::kData) throw;
      one.refused = error.what();
    }
    all.push_back(one);
  }

  void of_fit(ExponentEstimate& one, const SweepFit& fit, double c, const ComputeCost& cost) const {
    const Law& law = *fit.fit.law;
    one.exponent = parameter_exponent(law, fit.fit.theta, c, cost);
    one.interval = fit.interval_of([&](const Theta& theta) { return parameter_exponent(law, theta, c, cost); });
  }

  void of_runs(ExponentEstimate& one, const Law& law, const std::vector<SweepRun>& runs, const ComputeCost& cost) {
    RunTable table;
    table.runs = runs;
    of_fit(one, fit_sweep(law, table, options_, pool_), middle_compute(runs), cost);
  }

  void of_approach(ExponentEstimate& one, const std::vector<SweepRun>& runs, bool parabolas) {
    const IsoflopOptions options{options_.bootstraps, options_.seed, options_.level};
    const ComputeOptimal found = parabolas ? fit_isoflop(runs, options, pool_) : fit_envelope(runs, options, pool_);
    one.exponent = found.n.exponent;
    one.interval = found.n_exponent;
  }

  std::vector<ExponentEstimate> all;

 private:
  SweepFitOptions options_;
  ThreadPool& pool_;
};

}  // namespace

std::vector<ExponentEstimate> estimate_exponents(const CsvTable& csv, const RunTable& table, const SweepFit& fit,
                                                 const Backtest& ranking, const SweepFitOptions& options,
                                                 ThreadPool& pool) {
  const std::vector<SweepRun> runs = fitted_runs(table);
  const ComputeCost cost = compute_cost_of(runs);
  const Law& law = *fit.fit.law;
  Estimates estimates(options, pool);
  estimates.add("form", law.name,
                [&](ExponentEstimate& one) { estimates.of_fit(one, fit, middle_compute(runs), cost); });
  for (const BacktestForm& form : ranking.forms) {
    const bool both = (form.law->inputs & (kInputN | kInputD)) == (kInputN | kInputD);
    if (form.law == &law || !both || !form.refused.empty()) continue;
    estimates.add("form", form.law->name,
                  [&](ExponentEstimate& one) { estimates.of_runs(one, *form.law, runs, cost); });
  }
  estimates.add("form", "isoFLOP minima", [&](ExponentEstimate& one) { estimates.of_approach(one, runs, true); });
  estimates.add("form", "lower envelope", [&](ExponentEstimate& one) { estimates.of_approach(one, runs, false); });

  if (!cost.is_rule_of_thumb()) {
    std::vector<SweepRun> counted = runs;
    for (SweepRun& run : counted) run.c = ComputeCost{}.flops(run.n, run.d);
    estimates.add("counting", "C = 6 N D",
                  [&](ExponentEstimate& one) { estimates.of_fit(one, fit, middle_compute(counted), {}); });
  }
  const std::pair<const char*, const char*> columns[] = {{"n_total", "N with all embeddings"},
                                                         {"n_blocks", "N without embeddings"}};
  for (const auto& [column, name] : columns) {
    const std::optional<std::vector<SweepRun>> counted = with_column(csv, runs, column);
    if (!counted) continue;
    estimates.add("counting", name,
                  [&](ExponentEstimate& one) { estimates.of_runs(one, law, *counted, compute_cost_of(*counted)); });
  }
  return std::move(estimates.all);
}

}  // namespace tsugi
