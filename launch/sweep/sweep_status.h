// How far a sweep is: a row for each of its tasks, read from its folder and from Slurm's queue.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launch/sweep/slurm_submission.h"
#include "launch/sweep/sweep_folder.h"

namespace tsugi {

/// How far a task is.
struct TaskState {
  /// done, diverged, running, queued (in Slurm), stopped (begun, and nobody is at it), skipped (what it waits for
  /// diverged), waiting.
  std::string state;
  int64_t step = 0;
  int64_t steps = 0;           ///< 0: not known before it begins
  double share = 0.0;          ///< of its own FLOPs
  std::optional<double> loss;  ///< done: on the validation data; running or stopped: of the last step written
  std::optional<double> accuracy;
  std::optional<QueuedTask> queued;
  bool ended() const { return state == "done" || state == "diverged" || state == "skipped"; }
};

/// Reads the folder anew each time; what has ended is not read again, for it never changes.
class SweepStatus {
 public:
  SweepStatus(SweepFolder folder, const SweepPlan& plan);

  void look(const std::map<std::string, QueuedTask>& queued);

  const std::vector<SweepTask>& tasks() const { return tasks_; }
  const std::vector<TaskState>& states() const { return states_; }
  bool finished() const;
  double flops() const;  ///< of all tasks but the skipped ones
  double share() const;  ///< of flops() that are computed

  nlohmann::ordered_json json() const;
  /// A line for each task, and one for all.
  std::string plain_text() const;
  /// At most `rows` (at least one) lines of at most `columns` characters: the tasks in their order, and where there is
  /// no room for all of them those that have ended are left out first, then those that wait. The last lines say how
  /// many tasks are in each state, and what is computed. `seconds_left`: NaN where it is not known.
  std::vector<std::string> live_text(int rows, int columns, double seconds_left) const;

 private:
  TaskState state_of(const SweepTask& task, const std::map<std::string, QueuedTask>& queued) const;

  SweepFolder folder_;
  std::vector<SweepTask> tasks_;
  std::vector<TaskState> states_;
};

}  // namespace tsugi
