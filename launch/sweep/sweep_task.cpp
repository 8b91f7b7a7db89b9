#include "launch/sweep/sweep_task.h"

#include <algorithm>

namespace tsugi {

std::vector<SweepTask> sweep_tasks(const SweepPlan& plan) {
  std::vector<SweepTask> tasks;
  for (const PlannedSegment& segment : plan.segments) {
    tasks.push_back({SweepTask::Kind::kSegment, segment.id, segment.name, nullptr, &segment, segment.before,
                     segment.flops, segment.flops});
  }
  const int first_run = static_cast<int>(tasks.size());
  for (const PlannedRun& run : plan.runs) {
    tasks.push_back({SweepTask::Kind::kRun, run.id, run.name, &run, nullptr, run.segment, run.cost, run.cost});
  }
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    if (run.downstream_id.empty()) continue;
    tasks.push_back({SweepTask::Kind::kDownstream, run.downstream_id, run.name + " fine-tuned", &run, nullptr,
                     first_run + static_cast<int>(i), run.downstream_flops, run.downstream_flops});
  }
  // Each stands behind what it waits for.
  for (size_t i = tasks.size(); i-- > 0;) {
    if (tasks[i].after < 0) continue;
    SweepTask& before = tasks[static_cast<size_t>(tasks[i].after)];
    before.chain = std::max(before.chain, before.flops + tasks[i].chain);
  }
  return tasks;
}

}  // namespace tsugi
