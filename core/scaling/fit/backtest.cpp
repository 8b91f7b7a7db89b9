#include "core/scaling/fit/backtest.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ops/base/error.h"

namespace tsugi {
namespace {

/// Total compute where it is known, otherwise the only input there is.
double effort(const SweepRun& run) {
  if (!std::isnan(run.c)) return run.c;
  return std::isnan(run.d) ? run.n : run.d;
}

/// The last run of the budget that `last` belongs to, or `last` itself where runs do not lie on budgets.
size_t end_of_budget(const std::vector<double>& ascending, size_t last) {
  constexpr double kGap = 1.15, kSpan = 1.35;  // as group_budgets()
  size_t begin = last, end = last;
  while (begin > 0 && ascending[begin] <= kGap * ascending[begin - 1]) --begin;
  while (end + 1 < ascending.size() && ascending[end + 1] <= kGap * ascending[end]) ++end;
  return ascending[end] <= kSpan * ascending[begin] ? end : last;
}

std::vector<double> choose_cuts(const std::vector<double>& ascending, size_t fewest) {
  std::vector<double> cuts;
  if (ascending.size() <= fewest) return cuts;
  for (const double quantile : {0.4, 0.5, 0.6, 0.7, 0.8, 0.9}) {
    const size_t wanted = static_cast<size_t>(quantile * static_cast<double>(ascending.size()));
    const size_t last = end_of_budget(ascending, std::max(wanted, fewest) - 1);
    if (ascending[last] >= ascending.back()) continue;
    if (cuts.empty() || ascending[last] > cuts.back()) cuts.push_back(ascending[last]);
  }
  return cuts;
}

}  // namespace

std::vector<const Law*> comparable_laws(std::span<const SweepRun> runs) {
  const auto all_have = [&](double SweepRun::* value) {
    return std::all_of(runs.begin(), runs.end(), [&](const SweepRun& run) { return !std::isnan(run.*value); });
  };
  std::vector<std::string> names;
  if (all_have(&SweepRun::n) && all_have(&SweepRun::d)) {
    names = {"chinchilla", "kaplan", "kaplan_irreducible"};
    const bool repeated =
        std::any_of(runs.begin(), runs.end(), [](const SweepRun& r) { return r.d > 1.01 * r.unique; });
    if (all_have(&SweepRun::unique) && repeated) names.emplace_back("data_constrained");
  } else if (all_have(&SweepRun::c)) {
    names = {"kaplan_c", "power_c"};
  } else if (all_have(&SweepRun::d)) {
    names = {"kaplan_d", "power_d"};
  } else {
    names = {"kaplan_n", "power_n"};
  }
  std::vector<const Law*> laws;
  for (const std::string& name : names) laws.push_back(&law_by_name(name));
  return laws;
}

Backtest backtest(std::span<const Law* const> laws, std::span<const SweepRun> runs, std::span<const SweepRun> held_out,
                  const FitOptions& options, ThreadPool& pool) {
  Backtest result;
  size_t fewest = 8;
  for (const Law* law : laws) fewest = std::max(fewest, static_cast<size_t>(law->parameters) + 2);
  std::vector<double> ascending;
  for (const SweepRun& run : runs) ascending.push_back(effort(run));
  std::sort(ascending.begin(), ascending.end());
  for (const double c : choose_cuts(ascending, fewest)) {
    BacktestCut cut;
    cut.c = c;
    for (const double one : ascending) ++(one <= c ? cut.fitted : cut.predicted);
    cut.reach = ascending.back() / c;
    result.cuts.push_back(cut);
  }
  for (const Law* law : laws) {
    BacktestForm form;
    form.law = law;
    FitOptions plain = options;
    plain.fixed.clear();
    const auto score = [&](std::span<const SweepRun> fitted, std::span<const SweepRun> judged, Theta* theta) {
      try {
        const Fit fit = fit_law(*law, fitted, plain, pool);
        if (theta != nullptr) *theta = fit.theta;
        return relative_error(fit, judged);
      } catch (const Error& error) {
        form.refused = error.what();
        return RelativeError{};
      }
    };
    for (const BacktestCut& cut : result.cuts) {
      std::vector<SweepRun> below, above;
      for (const SweepRun& run : runs) (effort(run) <= cut.c ? below : above).push_back(run);
      form.cuts.push_back(score(below, above, nullptr));
      form.mean += form.cuts.back().mean / static_cast<double>(result.cuts.size());
    }
    form.fitted = score(runs, runs, &form.theta);
    if (!held_out.empty() && form.fitted.runs > 0) {
      Fit fit;
      fit.law = law;
      fit.theta = form.theta;
      form.held_out = relative_error(fit, held_out);
    }
    result.forms.push_back(std::move(form));
  }
  std::stable_sort(result.forms.begin(), result.forms.end(), [&](const BacktestForm& a, const BacktestForm& b) {
    if (a.refused.empty() != b.refused.empty()) return a.refused.empty();
    return result.cuts.empty() ? a.fitted.mean < b.fitted.mean : a.mean < b.mean;
  });
  return result;
}

}  // namespace tsugi
