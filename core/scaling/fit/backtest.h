// Which form to believe: fit the cheap runs of a sweep, predict its expensive ones, and see. Forms that fit equally
// well extrapolate very differently, so that this ranking says more than any goodness of fit.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/scaling/fit/fit.h"

namespace tsugi {

/// Every run with C <= cut was fitted, every one beyond it predicted.
struct BacktestCut {
  double c = 0.0;
  int64_t fitted = 0;
  int64_t predicted = 0;
  double reach = 0.0;  ///< largest C over the cut
};

struct BacktestForm {
  const Law* law = nullptr;
  std::vector<RelativeError> cuts;  ///< beside Backtest::cuts; runs = 0 where the fit was refused
  double mean = 0.0;                ///< mean of the cuts' mean |error|: what ranks
  RelativeError fitted;             ///< all runs, fitted and judged on themselves
  RelativeError held_out;           ///< runs = 0 when there are none
  Theta theta{};                    ///< fitted to all runs
  std::string refused;              ///< why the form could not be fitted, or empty
};

struct Backtest {
  std::vector<BacktestCut> cuts;
  std::vector<BacktestForm> forms;  ///< best first; refused ones last
};

/// Cuts at the 40, 50, 60, 70, 80 and 90 % quantiles of the runs ascending in C, moved up to the next gap between
/// budgets and kept when at least eight runs, and more than the largest form has parameters, lie below and one above.
/// `held_out` runs are predicted by the fit to all `runs`, and take no part in the ranking.
Backtest backtest(std::span<const Law* const> laws, std::span<const SweepRun> runs, std::span<const SweepRun> held_out,
                  const FitOptions& options, ThreadPool& pool);

/// The forms that can be compared on a table with these inputs: those of n and d, data_constrained if tokens are
/// repeated, or else those of the only input there is.
std::vector<const Law*> comparable_laws(std::span<const SweepRun> runs);

}  // namespace tsugi
