// Who is where: the ranks of this job, the host of each, and the CPUs that belong to this one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "dist/communicator.h"

namespace tsugi {

/// How to join the job.
struct WorldOptions {
  int threads = 0;               ///< compute threads per rank; 0: this rank's share of the CPUs
  double timeout_seconds = 600;  ///< a collective that takes longer means that a peer is lost
};

/// Joins the ranks that mpirun or srun started (or is a world of one without MPI when there is no launcher), pins
/// this rank to its share of the host's CPUs, and leaves at destruction.
/// MPI is used by one communication thread only (MPI_THREAD_SERIALIZED).
class World {
 public:
  explicit World(const WorldOptions& options);
  ~World();
  World(const World&) = delete;

  int rank() const;
  int size() const;
  int local_rank() const;
  int local_size() const;
  const std::string& host() const;
  int threads() const;
  /// CPUs this rank's threads are pinned to; empty when not pinned (more ranks than CPUs, or the launcher decided).
  const std::vector<int>& cpus() const;
  /// One line for the log: "rank 1 of 2 on host (local 1 of 2), 1 thread on CPU 1".
  std::string describe() const;

  Communicator& communicator();
  /// Ends the whole job at once with this exit code, on every rank (MPI_Abort). For errors that peers cannot know of.
  [[noreturn]] void abort(int exit_code);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
