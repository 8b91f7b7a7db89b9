// How a table of runs counts its compute.
#pragma once

#include <span>

#include "core/scaling/data/run_table.h"

namespace tsugi {

/// C = coefficient · N^exponent · D. The rule of thumb is 6 N D; exact FLOPs count attention and the head as well,
/// which weigh more in small models: advice for a budget in a table of exact FLOPs must count the same way.
struct ComputeCost {
  double coefficient = 6.0;
  double exponent = 1.0;
  /// The largest |C/(coefficient · N^exponent · D) - 1| of the runs it was taken from.
  double worst = 0.0;

  bool is_rule_of_thumb() const { return coefficient == 6.0 && exponent == 1.0; }
  double flops(double n, double d) const;
  double tokens(double c, double n) const;
  double parameters(double c, double d) const;
};

/// Least squares of ln(C/D) over ln N; 6 N D where the runs are that within 1 %. Runs without n, d or c are passed
/// over.
ComputeCost compute_cost_of(std::span<const SweepRun> runs);

}  // namespace tsugi
