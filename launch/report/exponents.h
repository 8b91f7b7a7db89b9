// How much of an exponent is the runs', and how much the convention's: the same sweep under other forms and counts.
#pragma once

#include <string>
#include <vector>

#include "core/data/csv.h"
#include "core/scaling/data/read_sweep.h"
#include "core/scaling/fit/backtest.h"
#include "core/scaling/fit/sweep_fit.h"

namespace tsugi {

/// a of N* ∝ C^a.
struct ExponentEstimate {
  std::string name;   ///< what is different from the report's own
  std::string group;  ///< "form" or "counting"
  double exponent = RunPoint::kUnknown;
  Interval interval{RunPoint::kUnknown, RunPoint::kUnknown};
  std::string refused;  ///< why there is none
};

/// The report's fit, every other form of n and d, approaches 1 and 2; then the report's form with N from the columns
/// `n_total` and `n_blocks` and C = 6 N D, where the table has them and they are different. At the geometric mean of
/// the fitted compute.
std::vector<ExponentEstimate> estimate_exponents(const CsvTable& csv, const RunTable& table, const SweepFit& fit,
                                                 const Backtest& ranking, const SweepFitOptions& options,
                                                 ThreadPool& pool);

}  // namespace tsugi
