// What a sweep keeps on disk, and how several launchers share it.
//
//   OUT/plan.json                   the runs, as they were planned last
//   OUT/runs/NAME-ID/train/         a run directory of `tsugi pretrain`; train-half-rate/ after a diverged attempt
//   OUT/runs/NAME-ID/run.textproto  its configuration; half-rate.textproto after a diverged attempt
//   OUT/runs/NAME-ID/log            what the run printed; summary.json: its result, as `pretrain --json` gives it
//   OUT/runs/NAME-ID/lock           held (flock) while it is trained and until its result is written
//   OUT/runs/NAME-ID/result.json    appears, whole, when the run has ended; it is never started again
//   OUT/runs/NAME-ID/downstream-ID/ the same of its fine-tuning: train/, log, summary.json, lock, result.json
//   OUT/trunks/NAME-ID/             the same of what runs have in common
//   OUT/runs.csv                    the runs that have ended, for `tsugi sweep fit --csv`
//   OUT/slurm/                      what was submitted to Slurm (slurm_submission.h)
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/scaling/plan/sweep_plan.h"
#include "launch/sweep/sweep_result.h"
#include "launch/sweep/sweep_task.h"

namespace tsugi {

/// The sweep file, its base configuration with `overrides`, and the data's fingerprint, made into a plan.
struct LoadedSweep {
  SweepConfig sweep;  ///< with the overrides, its sizes all by name
  RunConfig base;     ///< with the overrides, before the plan touches it
  SweepPlan plan;
  std::vector<std::string> notes;  ///< what sizes are centred on; plan_notes()
};
/// Overrides that begin with "sweep." are of the sweep file ("sweep.downstream.train=task.jsonl"), others of the base.
LoadedSweep load_sweep(const std::string& path, const std::vector<std::string>& overrides);

/// What a plan says of a run, as JSON.
nlohmann::ordered_json run_json(const PlannedRun& run);
nlohmann::ordered_json segment_json(const PlannedSegment& segment);

/// What the newest attempt of a task wrote last.
struct RunningMetrics {
  int64_t step = 0;  ///< 0 before the first
  std::optional<double> loss;
};

class SweepFolder {
 public:
  explicit SweepFolder(std::string out) : out_(std::move(out)) {}

  const std::string& path() const { return out_; }
  std::string run_folder(const PlannedRun& run) const;
  std::string task_folder(const SweepTask& task) const;
  /// The run directory of the attempt that ended a run, or is under way.
  std::string run_directory(const PlannedRun& run) const;

  // Results: nothing where there is none yet. Error(kData) when the file is there but is not a result of this.
  std::optional<RunResult> result(const PlannedRun& run) const;
  std::optional<DownstreamResult> downstream_result(const PlannedRun& run) const;
  bool has_result(const SweepTask& task) const;
  /// Whether it has a result that says so; fine-tunings that diverged hold nobody up.
  bool has_diverged(const SweepTask& task) const;

  void write_result(const PlannedRun& run, const RunResult& result) const;
  void write_downstream_result(const SweepTask& task, const DownstreamResult& result) const;
  void write_segment_result(const SweepTask& task, bool diverged, double seconds) const;
  void write_plan(const SweepPlan& plan) const;
  /// runs.csv of all runs that have ended; returns its path.
  std::string write_csv(const SweepPlan& plan) const;
  RunningMetrics last_metrics(const SweepTask& task) const;
  /// Whether a process is at it now.
  bool running(const SweepTask& task) const;

 private:
  std::string out_;
};

/// Whether nothing comes of a task any more: what it waits for diverged.
bool is_pointless(const SweepFolder& folder, const std::vector<SweepTask>& tasks, const SweepTask& task);

}  // namespace tsugi
