// From the runs of a sweep that are missing to job arrays of Slurm: who gets what, what is packed into one task, and
// the scripts. Nothing here talks to Slurm.
//
// A short run costs the batch system as much as a long one, so an array task trains several: as many as fill
// `pack_seconds` on each of its lanes (runs side by side), by predicted length. A run that is longer has a lane of its
// own, and needs as many turns as its time limit makes of it.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/config/sweep.pb.h"

namespace tsugi {

/// What holds for all arrays of one submission.
struct ArrayOptions {
  std::string account;              ///< empty: Slurm's default
  std::vector<std::string> sbatch;  ///< more options, one "#SBATCH" line each: "--qos=long"
  int most_running = 0;             ///< array tasks at a time (%K); 0: no limit
  double flops_per_second = 0.0;    ///< of one run
  double pack_seconds = 1800.0;
};

/// What is done by one process after another: a run, a fine-tuning, or what is missing of a trunk.
struct WorkUnit {
  std::vector<std::string> ids;  ///< of tasks
  double flops = 0.0;
};

struct ArrayTask {
  std::vector<WorkUnit> units;  ///< longest first
  double seconds = 0.0;         ///< predicted
};

/// One job array: tasks that ask for the same.
struct JobArray {
  ResourcesConfig resources;
  std::vector<ArrayTask> tasks;
};

/// Runs side by side in a task, and the threads of each rank.
int lanes_of(const ResourcesConfig& resources);
int threads_of(const ResourcesConfig& resources);

/// The sweep's classes ascending by from_flops, with one of presets below the first that does not begin at 0. Throws
/// Error(kUsage) naming `origin`: two of one from_flops; what cannot be asked for together; a time that is none of
/// Slurm's or under 5 minutes.
std::vector<ResourcesConfig> resource_classes(const SweepConfig& sweep, const std::string& origin);
/// The same rules for one class, after the command line has changed it.
void check_resources(const ResourcesConfig& resources, const std::string& origin);

/// Job arrays of at most 1000 tasks (Slurm's MaxArraySize is 1001 unless the site says otherwise).
std::vector<JobArray> pack_runs(std::span<const WorkUnit> missing, std::span<const ResourcesConfig> classes,
                                const ArrayOptions& options);

/// What scripts refer to.
struct ScriptPaths {
  std::string name;     ///< of the sweep
  std::string program;  ///< tsugi itself
  std::string config;   ///< the sweep file
  std::string out;      ///< the sweep's folder
  std::string folder;   ///< of this submission: task lists, logs
  std::string work;     ///< where paths of the configuration begin
};

/// One line per task: the ids of its units, with commas between them.
std::string task_list(const JobArray& array);
/// The script of an array whose task list is `list`, a file name in paths.folder. Throws Error(kUsage) for what cannot
/// be written in a batch script: quotes and line breaks.
std::string array_script(const JobArray& array, const std::string& list, const ScriptPaths& paths,
                         const ArrayOptions& options);
/// The script of the job that comes after all arrays: the table of results, then the fit.
std::string collect_script(const ResourcesConfig& resources, const ScriptPaths& paths, const ArrayOptions& options);

}  // namespace tsugi
