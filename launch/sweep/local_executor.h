// Runs of a sweep as processes of this host, side by side, or one after another on many ranks.
#pragma once

#include <string>
#include <vector>

#include "launch/sweep/sweep_folder.h"

namespace tsugi {

struct LocalExecution {
  int jobs = 0;                       ///< runs side by side; 0: one per CPU that this process may use
  int threads = 1;                    ///< of each rank
  std::string program;                ///< tsugi itself
  std::vector<std::string> launcher;  ///< starts each run on its ranks: {"mpirun", "-n", "4"}; empty: one rank
  std::vector<std::string> only;      ///< ids of the runs to train; empty: all
  bool quiet = false;                 ///< no line per run
  /// With `only`: how long others are waited for when nothing else is left to do. NFS frees the locks of a client that
  /// it has not heard of for 90 s.
  double patience_seconds = 180.0;
};

/// What became of the runs that were not ended before.
struct ExecutionSummary {
  int done = 0;
  int diverged = 0;
  int failed = 0;
  int left = 0;              ///< somebody else trains them
  bool interrupted = false;  ///< asked to stop: the runs under way have saved and go on next time
};

/// Trains every run of the plan that has no result yet, longest first. Another launcher of the same folder takes other
/// runs: a run's lock is held by its launcher and by the process that trains it, so that neither a killed launcher nor
/// a killed run leaves it behind. A run whose loss is no longer finite, or ends
/// above that of guessing, is repeated once at half the learning rate. Returns when every run has ended, be it by
/// another launcher, or, with `only`, when others still train what is left after `patience_seconds`. Throws
/// Error(kUsage) when `only` has an id that the plan has not.
ExecutionSummary execute_locally(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options);

}  // namespace tsugi
