// Messages between the ranks of a host: the receiver reads the sender's memory (process_vm_readv), with no thread and
// no copy in between. What is sent is announced in a mailbox in shared memory, and its bytes are copied once.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dist/host_seat.h"
#include "dist/point_to_point.h"

namespace tsugi {

/// The part of a collective that is between ranks of this host.
struct HostOperation {
  CollectiveId id;
  bool done = false;  ///< it has been waited for
  size_t open_receives = 0;
  std::vector<std::pair<size_t, uint64_t>> sent;  ///< to which peer, and the number of its last letter
};

/// Used by the one thread that calls collectives. Bytes move while a rank posts or waits: a rank that waits for one
/// operation serves all of them, so that ranks may wait in different orders.
class HostMessages {
 public:
  /// `seats` by rank, null for ranks of other hosts; `local_ranks` likewise.
  HostMessages(int rank, std::vector<HostSeat*> seats, const std::vector<int>& local_ranks, double timeout_seconds);

  bool reaches(int peer) const { return peers_[static_cast<size_t>(peer)].seat != nullptr; }

  /// All transfers are with ranks that it reaches; none is empty. Throws Error(kPeerLost).
  std::shared_ptr<HostOperation> post(CollectiveId id, const std::vector<Transfer>& sends,
                                      const std::vector<Transfer>& receives);
  /// Until all has been received, and taken by the peers. Throws Error(kPeerLost); its buffers are free then.
  void wait(HostOperation& operation);
  /// The operation's buffers are about to go. If it is still under way, the communicator has failed.
  void abandon(const HostOperation& operation);
  /// From now on every call throws, and peers no longer take what this rank has announced.
  void fail(const std::string& what);
  bool failed() const { return !failure_.empty(); }

 private:
  struct Outgoing {
    const void* data = nullptr;
    size_t bytes = 0;
    uint64_t collective = 0;
  };
  struct Incoming {
    Transfer to;
    std::shared_ptr<HostOperation> operation;
  };
  struct Peer {
    HostSeat* seat = nullptr;    ///< null: not of this host, or this rank
    HostMailbox* out = nullptr;  ///< its mailbox for what we send
    HostMailbox* in = nullptr;   ///< ours for what it sends
    uint64_t posted = 0;         ///< letters to it, with those that wait for a place
    uint64_t published = 0;
    uint64_t taken = 0;
    std::deque<Outgoing> backlog;
    std::deque<Incoming> awaited;
  };

  bool complete(const HostOperation& operation) const;
  /// Publishes and takes whatever can be; true if anything could.
  bool serve();
  bool publish(Peer& peer);
  bool take(int rank, Peer& peer);
  /// False: the peer has failed or is gone, and the launcher is about to end this rank too.
  bool read(int rank, const Peer& peer, const HostLetter& letter, const Transfer& to);
  /// "data from rank 2, and rank 3 to take ours"
  std::string missing(const HostOperation& operation) const;
  [[noreturn]] void give_up(const std::string& what);
  void throw_if_failed() const;

  int rank_;
  double timeout_seconds_;
  HostSeat* own_;
  std::vector<Peer> peers_;  // by rank
  std::string failure_;
};

/// Whether this process may read the memory of every rank with a seat: a look at its proof.
bool can_read_all(const std::vector<HostSeat*>& seats);

}  // namespace tsugi
