#include "launch/report/marks.h"

#include <algorithm>

#include "launch/sweep/fit_json.h"

namespace tsugi {

std::string signed_percent(double value) { return (value > 0.0 ? "+" : "") + percent(value); }

std::string run_title(const SweepRun& run) {
  return run.name + "\nN " + count_text(run.n) + ", D " + count_text(run.d) + ", C " + scientific_text(run.c) +
         "\nloss " + short_number(run.loss);
}

std::string run_title(const SweepRun& run, double predicted) {
  return run_title(run) + ", predicted " + short_number(predicted) + " (" + signed_percent(predicted / run.loss - 1.0) +
         ")";
}

std::vector<std::vector<SweepRun>> runs_by_size(const std::vector<SweepRun>& runs) {
  std::vector<SweepRun> sorted = runs;
  std::ranges::stable_sort(sorted, {}, &SweepRun::n);
  std::vector<std::vector<SweepRun>> sizes;
  for (const SweepRun& run : sorted) {
    if (sizes.empty() || run.n > 1.01 * sizes.back().front().n) sizes.emplace_back();
    sizes.back().push_back(run);
  }
  for (std::vector<SweepRun>& size : sizes) std::ranges::stable_sort(size, {}, &SweepRun::d);
  return sizes;
}

}  // namespace tsugi
