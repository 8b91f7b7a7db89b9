// The communicator over MPI.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "dist/point_to_point.h"

namespace tsugi {

class HostMessages;
class MpiThread;

struct MpiOptions {
  double timeout_seconds = 600;              ///< see WorldOptions
  size_t largest_message = size_t{1} << 18;  ///< bytes, at most 2³¹ - 1; longer transfers are cut
  bool host_memory = true;                   ///< see WorldOptions
  int emulated_hosts = 0;                    ///< see WorldOptions
};

/// All ranks of MPI_COMM_WORLD. One per process.
class MpiCommunicator : public PointToPointCommunicator {
 public:
  /// Starts the communication thread and initialises MPI in it. Throws Error(kPeerLost).
  explicit MpiCommunicator(const MpiOptions& options);
  /// Leaves MPI together with all ranks; alone, if the communicator has failed or an exception is on its way.
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  /// The ranks that share memory with this one, by rank.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  int host_leader() const { return host_leader_; }
  /// Ranks of this host read each other's memory.
  bool host_memory() const { return host_ != nullptr; }

  /// Where the communication thread may run.
  void allow_cpus(const std::vector<int>& cpus);
  /// MPI_Abort; _exit if that does not return. From any thread.
  [[noreturn]] void abort(int exit_code);

 protected:
  std::unique_ptr<Pending> post(CollectiveId id, std::vector<Transfer> sends, std::vector<Transfer> receives) override;

 private:
  std::shared_ptr<MpiThread> thread_;   // holds the seats that host_ uses
  std::shared_ptr<HostMessages> host_;  // null: all goes over MPI
  int exceptions_;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  int host_leader_ = 0;
};

}  // namespace tsugi
