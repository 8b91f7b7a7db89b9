// What another sweep of the same kind might have given: refits of resampled runs.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/scaling/fit/fit.h"

namespace tsugi {

struct Interval {
  double low = 0.0;
  double high = 0.0;
};

/// The central `level` of the values by linear interpolation between order statistics; NaN values are left out, and NaN
/// bounds say that there were none.
Interval percentile_interval(std::vector<double> values, double level = 0.95);

/// Working parameters of the refits.
struct Bootstrap {
  uint64_t seed = 0;
  std::vector<Theta> samples;
};

/// Draws runs with replacement, whole clusters at a time (evaluations of one run are not independent), and refits from
/// the optimum of the full table and its other valleys. Replicate i is a pure function of (runs, seed, i): any number
/// of threads gives the same samples.
Bootstrap bootstrap_runs(const Fit& fit, std::span<const SweepRun> runs, int replicates, uint64_t seed,
                         ThreadPool& pool);

/// Interval of a quantity of the parameters: `quantity` gets working parameters.
Interval bootstrap_interval(const Bootstrap& bootstrap, const std::function<double(const Theta&)>& quantity,
                            double level = 0.95);

/// Interval for the loss that one new run will have: the refits' predictions, each with a residual drawn from the
/// fit's, which are widened by sqrt(runs/(runs - parameters)).
Interval prediction_interval(const Fit& fit, const Bootstrap& bootstrap, const SweepRun& run, double level = 0.95);

/// `count` indices in [0, bound) for one replicate, a pure function of the arguments.
std::vector<size_t> draw(uint64_t seed, uint64_t replicate, size_t count, size_t bound);

}  // namespace tsugi
