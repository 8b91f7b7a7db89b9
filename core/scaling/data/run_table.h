// The runs of a sweep as the fits see them, from wherever they come: a CSV file or the results of a sweep of ours.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/scaling/laws/law.h"

namespace tsugi {

/// One finished run. What is not known is NaN; counts are raw (not billions), losses in nats unless all are in another
/// unit alike.
struct SweepRun {
  std::string name;     ///< for messages: a run id, or "line 17"
  std::string cluster;  ///< runs of one cluster are resampled together (evaluations of one run); "": on its own
  double n = RunPoint::kUnknown;
  double d = RunPoint::kUnknown;
  double c = RunPoint::kUnknown;
  double loss = RunPoint::kUnknown;
  double unique = RunPoint::kUnknown;
  double steps = RunPoint::kUnknown;
  double batch = RunPoint::kUnknown;          ///< tokens
  double learning_rate = RunPoint::kUnknown;  ///< peak
  bool held_out = false;                      ///< never fitted, only predicted

  RunPoint point() const;
};

struct RunTable {
  std::string origin;
  std::vector<SweepRun> runs;
  std::vector<std::string> notes;     ///< what a reader should know: "c = 6 n d", rows left out, …
  std::vector<std::string> warnings;  ///< what may be wrong with it

  /// Inputs that every run has.
  unsigned inputs() const;
};

/// Fills what follows from C = 6 N D: the third of (n, d, c) when two are known, and says so in the notes.
void complete_flops(RunTable& table);

/// Refuses tables that no fit can read: no runs, values that are not positive and finite, n, d or c so small that they
/// must be counted in millions or PF-days. Notes when c is far from 6 n d. `units_meant`: inputs whose scale the user
/// gave, which are then taken as they are.
void check_units(RunTable& table, unsigned units_meant = 0);

/// Refuses rows that count in another unit than the rest, and names them: a column that jumps by five orders (c by
/// eight), or by three (five) where tokens per parameter differ by two and a half; a row whose c is a hundred times
/// nearer to or farther from 6 n d than the others'. Warns of other such jumps. For tables as they were given, before
/// anything is derived.
void check_mixed_units(RunTable& table, unsigned units_meant = 0);

/// The runs that are not held out, and those that are.
std::vector<SweepRun> fitted_runs(const RunTable& table);
std::vector<SweepRun> held_out_runs(const RunTable& table);

/// Groups of runs of (nearly) one compute budget, ascending in C: a gap of more than 15 % begins the next one. The
/// indices within a budget ascend in N. A budget that then spans more than 35 % is no budget: Error(kData) with a hint.
struct Budget {
  double c = 0.0;  ///< geometric mean
  std::vector<size_t> runs;
};
std::vector<Budget> group_budgets(std::span<const SweepRun> runs);

}  // namespace tsugi
