// The communication thread: the only one that calls MPI, from MPI_Init_thread to MPI_Finalize.
//
// Open MPI spins while it waits, and would halve the compute of the rank; so here nothing ever waits inside MPI. The
// thread sleeps when nothing is under way; otherwise it tests what is, with growing pauses. Ranks of one host end each
// other's pauses: who has posted or taken a message rings the bell of the rank that it concerns.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "dist/host_messages.h"
#include "dist/mpi_communicator.h"
#include "dist/mpi_messages.h"

namespace tsugi {

/// Where this process is, as MPI sees it.
struct MpiPlace {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int local_size = 1;
  int host_leader = 0;           ///< the lowest rank on this host
  std::vector<HostSeat*> seats;  ///< by rank; null: on another host, or nobody else is on this one
  std::vector<int> local_ranks;  ///< by rank; -1 where there is no seat
  bool readable = false;         ///< the ranks of this host may read each other's memory
};

/// A collective in the hands of the thread.
struct MpiOperation {
  explicit MpiOperation(MpiMessages m) : messages(std::move(m)) {}
  MpiMessages messages;    ///< used by the communication thread alone
  std::vector<int> peers;  ///< as messages
  bool on_host = false;    ///< all peers are on this host; as messages
  bool done = false;       ///< guarded by the mutex of MpiThread
};

/// Shared by the communicator and the thread: the thread may outlive the communicator when MPI does not return.
class MpiThread : public std::enable_shared_from_this<MpiThread> {
 public:
  explicit MpiThread(const MpiOptions& options) : options_(options) {}

  /// Starts the thread and waits until MPI is initialised.
  MpiPlace start();
  /// Leaves MPI, with MPI_Finalize only if `finalize` and nothing failed.
  void stop(bool finalize);

  std::shared_ptr<MpiOperation> post(MpiMessages messages);
  /// Throws Error(kPeerLost); after that MPI no longer touches the buffers of any operation.
  void wait(MpiOperation& operation);
  /// The operation's buffers are about to go. If it is still under way, the communicator has failed.
  void abandon(MpiOperation& operation);
  /// Lets the thread run on these CPUs only.
  void allow_cpus(std::vector<int> cpus);
  [[noreturn]] void abort(int exit_code);

 private:
  using Lock = std::unique_lock<std::mutex>;

  void run();
  void initialise();
  void serve();
  void finalise();
  /// Lays out the seats of the ranks of this host in memory that they share.
  void take_seats(MPI_Comm host, MpiPlace& place);
  void start(const std::shared_ptr<MpiOperation>& operation);
  /// Tests the active operations until a message has completed or the bell has rung after `rings`.
  void work(uint32_t rings);
  bool test();
  void knock(const MpiOperation& operation);
  /// Asks the thread to give up because of what happened to this operation, and waits until it has.
  void give_up(Lock& lock, const MpiOperation& operation, const std::string& what);
  [[noreturn]] void throw_failure() const;

  const MpiOptions options_;
  MpiPlace place_;  // written before initialised_

  // Used by the thread alone.
  using Clock = std::chrono::steady_clock;
  MPI_Comm group_ = MPI_COMM_NULL;
  MPI_Win shared_ = MPI_WIN_NULL;  // the seats
  uint64_t proof_ = 0;             // that others can read this memory
  std::vector<std::shared_ptr<MpiOperation>> active_;
  Clock::time_point last_progress_;
  bool paused_ = false;        // since the last progress
  uint32_t rings_before_ = 0;  // the last pause
  int unannounced_ = 0;        // so often in a row something had happened in a pause, and the bell was silent

  Doorbell own_bell_;            // until there is memory to share
  Doorbell* bell_ = &own_bell_;  // of this rank; written before initialised_

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable changed_;  // for all but the thread, whom bell_ wakes
  std::vector<std::shared_ptr<MpiOperation>> queue_;
  std::optional<std::vector<int>> cpus_;
  std::optional<int> abort_code_;
  std::string reason_to_give_up_;
  const MpiOperation* culprit_ = nullptr;  // of the reason; not followed
  std::string failure_;                    // not empty: the thread has let go of all operations
  bool initialised_ = false;
  bool stop_ = false;
  bool finalize_ = false;
  bool left_ = false;
};

}  // namespace tsugi
