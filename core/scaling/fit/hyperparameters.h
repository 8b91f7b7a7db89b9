// Learning rate and batch size as power laws of model size and tokens, from grids of both (Li et al. 2025, "Predictable
// scale, part I" (StepLaw); DeepSeek-AI 2024, "DeepSeek LLM", §3.1).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/scaling/data/run_table.h"
#include "core/scaling/fit/bootstrap.h"

namespace tsugi {

/// The best setting of one (n, d).
struct HyperparameterCell {
  double n = 0.0;
  double d = 0.0;
  int runs = 0;
  double learning_rate = 0.0;
  double batch = 0.0;
  double loss = 0.0;  ///< the lowest measured
  bool interpolated =
      false;             ///< by a quadratic through the runs within 2 % of the lowest loss; else the best run itself
  bool at_edge = false;  ///< the best run lies on the edge of what was tried: add values beyond
};

/// coefficient · n^n_exponent · d^d_exponent. An input that has one value in all cells has exponent 0.
struct HyperparameterLaw {
  double coefficient = 0.0, n_exponent = 0.0, d_exponent = 0.0;
  Interval coefficient_interval, n_interval, d_interval;
  double at(double n, double d) const;
};

struct HyperparameterFit {
  std::vector<HyperparameterCell> cells;
  HyperparameterLaw learning_rate;  ///< of n and d
  HyperparameterLaw batch;          ///< tokens, of d (of n where d is one value)
  bool has_learning_rate = false;   ///< false: one learning rate in each cell
  bool has_batch = false;
  /// Loss of the run nearest to the laws in each cell over the cell's lowest, minus one: mean and largest.
  double mean_excess = 0.0, largest_excess = 0.0;
  std::vector<std::string> warnings;
};

/// Cells are runs of one n and d (within 2 %); those of fewer than three runs are left out. Intervals resample cells.
/// Error(kData) when lr and batch are missing, or with fewer than three cells.
HyperparameterFit fit_hyperparameters(std::span<const SweepRun> runs, int bootstraps, uint64_t seed, double level);

}  // namespace tsugi
