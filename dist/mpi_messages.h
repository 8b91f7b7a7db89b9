// The MPI requests of one collective. Only the communication thread may use this.
#pragma once

#define OMPI_SKIP_MPICXX 1  // the C interface only: the C++ one of old needs another library
#include <mpi.h>

#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "dist/point_to_point.h"

namespace tsugi {

/// An MPI call did not succeed.
struct MpiFailure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Throws MpiFailure that names the call, unless `result` is MPI_SUCCESS.
void check_mpi(int result, const std::string& call);

class MpiMessages {
 public:
  MpiMessages(CollectiveId id, std::vector<Transfer> sends, std::vector<Transfer> receives)
      : id_(id), sends_(std::move(sends)), receives_(std::move(receives)) {}

  CollectiveId id() const { return id_; }

  /// Posts all sends, in messages of at most `largest_message` bytes, then calls `sent`, then posts all receives: where
  /// a message waits already, that may copy it, and the peer can do the same with ours meanwhile.
  void start(MPI_Comm communicator, size_t largest_message, const std::function<void()>& sent);
  /// Lets MPI work; true when a message has completed since the last call.
  bool progress();
  /// All has been received.
  bool received() const { return open_receives_ == 0; }
  /// Peers learn from MPI alone that what they sent was taken: their messages are too long to have left them at once.
  bool receives_long() const { return receives_long_; }
  bool complete() const { return open_ == 0; }
  /// Some of it has come through, but not all.
  bool flowing() const { return open_ > 0 && open_ < requests_.size(); }
  /// The ranks it talks to, each once.
  std::vector<int> peers() const;
  /// What it waits for: "data from rank 2 and rank 3, and rank 2 to take ours".
  std::string missing() const;

 private:
  struct Message {
    int peer = 0;
    int bytes = 0;
    bool receive = false;
  };
  CollectiveId id_;
  std::vector<Transfer> sends_;
  std::vector<Transfer> receives_;
  std::vector<MPI_Request> requests_;
  std::vector<Message> messages_;  // of the request with the same index
  size_t open_ = 0;
  size_t open_receives_ = 0;
  bool receives_long_ = false;
  // for MPI_Testsome
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

}  // namespace tsugi
