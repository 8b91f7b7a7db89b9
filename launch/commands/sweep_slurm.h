// `tsugi sweep run --executor slurm`.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/command_line.h"
#include "launch/sweep/slurm_submission.h"

namespace tsugi {

/// What the command line says; what it does not say, each class of the sweep's file says for itself.
struct SlurmOptions {
  std::optional<std::string> partition;
  std::optional<std::string> time;
  std::optional<int> ranks;
  std::optional<int> cpus_per_rank;
  std::optional<int> nodes;
  std::optional<int> gpus_per_node;
  std::optional<double> pack_minutes;
  std::optional<double> gflops;
  std::optional<int> jobs;  ///< local execution has it, too
  ArrayOptions arrays;
  bool dry_run = false;
  std::vector<Option> given;  ///< those that only Slurm has

  /// Throws Error(kUsage) when one of them was given.
  void refuse_without_slurm() const;
};

void add_slurm_options(Command command, SlurmOptions& options);

/// Submits what is missing and says what that is. Returns the exit code.
int run_in_slurm(const SlurmOptions& options, const std::string& origin, const LoadedSweep& loaded,
                 const SweepFolder& folder, const std::string& program, bool json);

}  // namespace tsugi
