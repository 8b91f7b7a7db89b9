// A fit on disk: what `sweep fit --out` writes, and a prediction is made from.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/scaling/advice/compute_cost.h"
#include "core/scaling/fit/sweep_fit.h"

namespace tsugi {

/// Another form fitted to the same runs, for comparison.
struct RivalForm {
  const Law* law = nullptr;
  Theta theta{};
  double backtest_error = RunPoint::kUnknown;  ///< mean |error| of the back-test
};

struct FitFile {
  SweepFit fit;
  std::vector<RivalForm> rivals;
  /// Ranges of the fitted runs; NaN bounds where an input is not known.
  Interval n, d, c;
  /// How the fitted runs count C; files of before this was kept say 6 N D.
  ComputeCost cost;
  /// XXH64 of the file's bytes, 16 hexadecimal digits: names the fit that a prediction was made with.
  std::string hash;
};

/// Writes `summary` (any JSON object: what people read) with the fit's samples and residuals added, durably. Returns
/// the file's hash.
std::string save_fit(const std::string& path, const FitFile& file, const nlohmann::ordered_json& summary);

/// Reads what save_fit() wrote (format 1). Throws Error(kData) for anything else: unknown form, wrong lengths, numbers
/// that are not finite or, in the cost of compute, not positive, more than 256 MiB.
FitFile load_fit(const std::string& path);

/// Ranges of the inputs over runs, and how these count compute.
void describe_runs(FitFile& file, std::span<const SweepRun> runs);

}  // namespace tsugi
