// A sweep's missing runs, given to Slurm; and what Slurm has of them.
//
//   OUT/slurm/0001/                     one submission
//     sweep.textproto base.textproto    the sweep as it was then: later changes of its file do not reach the queue
//     class-0.sbatch class-0.tasks      a job array and, line by line, the ids of its tasks' runs
//     collect.sbatch                    the job after all arrays
//     logs/                             of the tasks: JOB_TASK.log
//
// Nothing is kept of job numbers: a task in the queue is known by its script, whoever submitted that.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "launch/sweep/slurm_arrays.h"
#include "launch/sweep/sweep_folder.h"

namespace tsugi {

/// A task of an array that is in Slurm's queue, be it running.
struct QueuedTask {
  std::string array;   ///< job number
  std::string index;   ///< in it
  std::string state;   ///< as squeue says: PENDING, RUNNING …
  std::string reason;  ///< for pending ones: Resources, Priority …
};

/// The user's queued tasks by the ids of the sweep's tasks that are theirs; empty, without asking, when nothing of this
/// sweep was ever submitted. Throws Error(kUsage) when there is no squeue, Error(kInputOutput) with its words when it
/// fails.
std::map<std::string, QueuedTask> queued_runs(const SweepFolder& folder);

struct SlurmExecution {
  std::vector<ResourcesConfig> classes;
  ArrayOptions arrays;  ///< flops_per_second 0: as runs that have ended had it, else 1e10
  std::string program;  ///< tsugi itself
  bool dry_run = false;
};

struct SubmittedArray {
  std::string script;
  std::string job;                 ///< number; empty in a dry run
  std::string what;                ///< "trunks", "runs" or "fine-tunings"
  std::vector<std::string> after;  ///< the scripts of this submission that it waits for
  int tasks = 0;
  int runs = 0;                  ///< or trunks, or fine-tunings
  double longest_seconds = 0.0;  ///< predicted, of one task
};

struct Submission {
  int ended = 0;   ///< of the sweep's tasks, those that have a result
  int queued = 0;  ///< those that Slurm or another launcher has already
  /// In a dry run, why Slurm could not be asked for its queue: the scripts then have what may be running already.
  std::string queue_unknown;
  double flops_per_second = 0.0;
  std::vector<SubmittedArray> arrays;  ///< empty: there was nothing to submit
  std::string collect_script;
  std::string collect_job;
};

/// Writes the scripts and submits them; in a dry run only the former, for which no controller need answer. One launcher
/// at a time: a second one finds the runs of the first in the queue. Throws Error(kUsage) with sbatch's words when it
/// refuses.
Submission submit_to_slurm(const SweepFolder& folder, const LoadedSweep& loaded, const SlurmExecution& options);

}  // namespace tsugi
