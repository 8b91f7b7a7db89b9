// Sweeps of a known law, for tests.
#pragma once

#include <cmath>
#include <vector>

#include "core/scaling/data/run_table.h"
#include "core/scaling/flops.h"
#include "ops/tensor/philox.h"

namespace tsugi {

/// Standard normal numbers (Box and Muller) of a seed.
inline double normal(uint64_t seed, uint64_t index) {
  const Philox4 words = RandomStream{seed, index, 7}.block(0);
  const double u = (words[0] + 0.5) * 0x1p-32, v = (words[1] + 0.5) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * 3.14159265358979323846 * v);
}

/// The truth of these sweeps: E 1.8, A 480, B 2100, alpha 0.35, beta 0.37.
inline double true_loss(double n, double d) { return 1.8 + 480 / std::pow(n, 0.35) + 2100 / std::pow(d, 0.37); }

/// `budgets` isoFLOP budgets from 1e18 up by factors of `factor`, `sizes` sizes each around the optimum, the outermost
/// a factor of `width` away; relative noise of the loss.
inline RunTable isoflop_sweep(int budgets, int sizes, double noise, uint64_t seed = 1,
                              double factor = 3.1622776601683795, double width = 6.0) {
  RunTable table;
  table.origin = "synthetic";
  for (int b = 0; b < budgets; ++b) {
    const double c = 1e18 * std::pow(factor, b);
    const double g = std::pow(0.35 * 480 / (0.37 * 2100), 1 / 0.72);
    const double centre = g * std::pow(c / 6, 0.37 / 0.72);
    for (int s = 0; s < sizes; ++s) {
      SweepRun run;
      run.name = std::to_string(b).append(":").append(std::to_string(s));
      run.n = centre * std::pow(width, 2.0 * s / (sizes - 1) - 1.0);
      run.d = tokens_for_flops(c, run.n);
      run.c = c;
      run.loss = true_loss(run.n, run.d) * std::exp(noise * normal(seed, table.runs.size()));
      table.runs.push_back(run);
    }
  }
  return table;
}

}  // namespace tsugi
