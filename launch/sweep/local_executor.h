// A sweep's tasks as processes of this host, side by side, or one after another on many ranks.
#pragma once

#include <string>
#include <vector>

#include "launch/sweep/sweep_folder.h"

namespace tsugi {

struct LocalExecution {
  int jobs = 0;  ///< tasks side by side; 0: one per device, or per CPU that this process may use where there are none
  /// What CUDA_VISIBLE_DEVICES is of tasks that compute on one device each: they take turns. Empty: it is as it was.
  std::vector<std::string> devices = {};
  int threads = 1;                    ///< of each rank
  std::string program;                ///< tsugi itself
  std::vector<std::string> launcher;  ///< starts each task on its ranks: {"mpirun", "-n", "4"}; empty: one rank
  std::vector<std::string> only;      ///< ids of the tasks to do; empty: all
  DownstreamConfig downstream;        ///< what runs are fine-tuned on
  bool quiet = false;                 ///< no line per task
  /// With `only`: how long others are waited for when nothing else is left to do. NFS frees the locks of a client that
  /// it has not heard of for 90 s.
  double patience_seconds = 180.0;
};

/// What became of the tasks that had not ended before.
struct ExecutionSummary {
  int done = 0;              ///< runs
  int diverged = 0;          ///< runs
  int segments = 0;          ///< of trunks
  int fine_tuned = 0;        ///< runs
  int failed = 0;            ///< tasks
  int left = 0;              ///< tasks that somebody else does, or that wait for one that failed
  bool interrupted = false;  ///< asked to stop: the tasks under way have saved and go on next time
};

/// Does every task of the plan that has no result yet, each after the one that it waits for, those with the longest
/// chain first. Another launcher of the same folder takes other tasks: a task's lock is held by its launcher and by the
/// process that computes it, so that neither a killed launcher nor a killed process leaves it behind. A run whose loss
/// is no longer finite, or ends above that of guessing, is repeated once at half the learning rate, as a whole; so is a
/// run whose trunk diverged. Returns when every task has ended, be it by another launcher; or, with `only`, when others
/// are still at what is left after `patience_seconds`, or what it waits for is not there. Throws Error(kUsage) when
/// `only` has an id that the plan has not.
ExecutionSummary execute_locally(const SweepFolder& folder, const SweepPlan& plan, const LocalExecution& options);

}  // namespace tsugi
