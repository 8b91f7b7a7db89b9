// How to train the run that a law advises: shape, learning rate and batch, as the sweep's own runs have them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>

#include "core/data/csv.h"
#include "core/scaling/data/run_table.h"

namespace tsugi {

/// What is not known, for a lack of columns, is NaN.
struct AdvisedSettings {
  double width = RunPoint::kUnknown;
  double layers = RunPoint::kUnknown;
  double learning_rate = RunPoint::kUnknown;
  double batch = RunPoint::kUnknown;  ///< tokens
  bool of_grid = false;               ///< rate and batch by the laws of a grid (core/scaling/fit/hyperparameters.h)
};

/// For a run of n parameters and d tokens. Where the runs are grids, rate and batch follow the laws of these; otherwise
/// whatever rule they had, as a power of n and d through the runs. The shape, from the columns width and layers of the
/// table: layers as a power of n, rounded, and the width that then has n parameters, by n/(layers·width²) of the runs
/// as a power of n; a multiple of 4, from 64 on of 16.
AdvisedSettings advised_settings(const CsvTable& csv, std::span<const SweepRun> runs, double n, double d);

nlohmann::ordered_json settings_json(const AdvisedSettings& settings);
/// "width 64, 3 layers, learning rate 0.006, batch 256 tokens, as the runs have them"; empty if nothing is known.
std::string settings_text(const AdvisedSettings& settings);

}  // namespace tsugi
