#include "core/scaling/fit/sweep_fit.h"

#include <cmath>
#include <utility>

#include "core/scaling/fit/isoflop.h"

namespace tsugi {

SweepFit fit_sweep(const Law& law, const RunTable& table, const SweepFitOptions& options, ThreadPool& pool) {
  const std::vector<SweepRun> runs = fitted_runs(table);
  SweepFit result;
  result.level = options.level;
  result.fit = fit_law(law, runs, options.fit, pool);
  require_meaning(result.fit);
  constexpr unsigned kBoth = kInputN | kInputD;
  if ((law.inputs & kBoth) == kBoth) {
    for (std::string& warning : edge_warnings(runs)) result.fit.warnings.push_back(std::move(warning));
  }
  result.bootstrap = bootstrap_runs(result.fit, runs, options.bootstraps, options.seed, pool);
  constexpr Interval kNone{RunPoint::kUnknown, RunPoint::kUnknown};
  result.interval.fill(kNone);
  result.profile.fill(kNone);
  for (int i = 0; i < law.parameters; ++i) {
    if ((result.fit.fixed >> i & 1u) != 0) continue;
    result.interval[i] = result.interval_of([&](const Theta& theta) { return law.to_public(i, theta[i]); });
  }
  if (options.profiles) {
    pool.for_each(law.parameters, [&](int64_t i, int) {
      if ((result.fit.fixed >> i & 1u) != 0) return;
      result.profile[i] = profile_interval(result.fit, runs, static_cast<int>(i));
    });
  }
  return result;
}

Prediction predict_loss(const SweepFit& fit, const SweepRun& run) {
  return {fit.fit.predict(run), prediction_interval(fit.fit, fit.bootstrap, run, fit.level)};
}

}  // namespace tsugi
