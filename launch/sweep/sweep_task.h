// A sweep as the processes that it takes, and what waits for what: pieces of trunks, runs, their fine-tuning. It is a
// forest, for each waits for at most one other.
#pragma once

#include <string>
#include <vector>

#include "core/scaling/plan/sweep_plan.h"

namespace tsugi {

struct SweepTask {
  enum class Kind { kSegment, kRun, kDownstream };
  Kind kind = Kind::kRun;
  std::string id;
  std::string name;                         ///< for people
  const PlannedRun* run = nullptr;          ///< of kRun and kDownstream
  const PlannedSegment* segment = nullptr;  ///< of kSegment
  int after = -1;                           ///< index of the task that must have ended, or -1
  double flops = 0.0;                       ///< of its own
  double chain = 0.0;                       ///< with those of the longest chain that waits for it
};

/// Segments, then runs, then fine-tunings, each as the plan has them.
std::vector<SweepTask> sweep_tasks(const SweepPlan& plan);

}  // namespace tsugi
