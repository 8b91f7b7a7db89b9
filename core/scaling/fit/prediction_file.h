// A prediction on disk: what `sweep predict --out` wrote before the run, for the report to hold against what came true.
#pragma once

#include <string>

#include "core/scaling/data/run_table.h"
#include "core/scaling/fit/bootstrap.h"

namespace tsugi {

/// With the run that came true, if the report's table has it.
struct WrittenPrediction {
  std::string file, time, form, fit_hash;
  double n = 0.0, d = 0.0, c = 0.0, loss = 0.0, level = 0.95;
  Interval interval;                   ///< NaN bounds: the fit had no bootstrap samples
  std::string run;                     ///< empty: not there yet
  double actual = RunPoint::kUnknown;  ///< its loss
};

/// Reads it, without a run. Throws Error(kData) for a missing field, for numbers that are not positive, a level that is
/// not between 0 and 1, and an interval whose ends are the wrong way round.
WrittenPrediction read_prediction(const std::string& path);

}  // namespace tsugi
