// Who is where: the ranks of this job, the host of each, and the CPUs that belong to this one.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "dist/communicator.h"

namespace tsugi {

/// How to join the job.
struct WorldOptions {
  int threads = 0;                           ///< compute threads per rank; 0: this rank's share of the CPUs
  double timeout_seconds = 600;              ///< waiting longer than this for a collective means that a peer is lost
  size_t largest_message = size_t{1} << 18;  ///< bytes; longer transfers are cut, so that their progress shows
  bool host_memory = true;  ///< ranks of a host read each other's memory where the system lets them; else all use MPI
  int emulated_hosts = 0;   ///< for tests: ranks that differ by a multiple of it count as a host; 0: as MPI says
};

/// Joins the ranks that mpirun or srun started (or is a world of one without MPI when there is no launcher), and pins
/// this rank to its share of the host's CPUs: an even part under mpirun, whose own default binding is undone (not
/// so an explicit --bind-to), and what srun gave it if that differs between the ranks.
/// MPI is used by one communication thread only (MPI_THREAD_SERIALIZED).
///
/// Errors: Error(kUsage) when the launcher and MPI disagree about the number of ranks, Error(kPeerLost) when joining
/// takes longer than the timeout. A collective that fails or times out throws Error(kPeerLost), and the communicator
/// stays failed: the way on is abort(), or leaving with a non-zero exit code.
///
/// The destructor is collective (MPI_Finalize): whatever must be durable must be so before, because the launcher may
/// end the other ranks as soon as one has exited. After a failure, or when an exception is on its way, it leaves alone.
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
  /// Whether the ranks of this host read each other's memory.
  bool host_memory() const;
  int threads() const;
  /// CPUs of this rank, in the order in which threads should be pinned to them; empty when not pinned (no launcher,
  /// more ranks than CPUs, or CPUs that the launcher gave to several ranks in part).
  const std::vector<int>& cpus() const;
  /// One line for the log: "rank 1 of 2 on host (local 1 of 2), 1 thread on CPU 1, the host's ranks by memory".
  std::string describe() const;

  Communicator& communicator();
  /// Ends the whole job at once with this exit code, on every rank (MPI_Abort). For errors that peers cannot know of,
  /// and for lost peers. From any thread.
  [[noreturn]] void abort(int exit_code);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tsugi
