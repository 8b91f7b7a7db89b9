// Runs of a sweep as processes of this host, one thread each, as many side by side as there are cores for them.
#pragma once

#include "launch/sweep/sweep_folder.h"

namespace tsugi {

struct LocalExecution {
  int jobs = 0;         ///< runs side by side; 0: one per CPU that this process may use
  std::string program;  ///< tsugi itself
  bool quiet = false;   ///< no line per run
};

/// What became of the runs that were not ended before.
struct ExecutionSummary {
  int done = 0;
  int diverged = 0;
  int failed = 0;
  bool interrupted = false;  ///< asked to stop: the runs under way have saved and go on next time
};

/// Trains every run of the plan that has no result yet, longest first. Another launcher of the same folder takes other
/// runs: a run's lock is held by its launcher and by the process that trains it, so that neither a killed launcher nor
/// a killed run leaves it behind. A run whose loss is no longer finite, or ends
/// above that of guessing, is repeated once at half the learning rate. Returns when every run has ended, be it by
/// another launcher.
ExecutionSummary execute_locally(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options);

}  // namespace tsugi
