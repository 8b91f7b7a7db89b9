// Collectives between ranks. Every call is collective: all ranks make the same calls in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// One message of an exchange: `bytes` at `data` to or from rank `peer`.
struct Transfer {
  int peer = 0;
  void* data = nullptr;
  size_t bytes = 0;
};

/// A collective under way. Its buffers must stay alive, and untouched by the host, until wait() returns.
class Pending {
 public:
  virtual ~Pending() = default;
  /// Blocks (without burning a core) until done; a second call returns at once. Throws Error(kPeerLost) when the
  /// communicator failed or timed out.
  virtual void wait() = 0;
  /// For memory of a device: work that is issued to its stream from now on runs after it, and the host goes on. wait()
  /// must still follow, and throws what went wrong; until then nobody may simply wait for the device. Elsewhere:
  /// wait().
  virtual void order() { wait(); }
  /// After order() and wait(): seconds that the device's stream stood still for it.
  virtual double stalled_seconds() const { return 0.0; }
};

/// A group of ranks. Calls come from one thread of each rank; asynchronous ones progress by themselves.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  /// Sends and receives point to point (as ncclSend/ncclRecv in a group). Messages between a pair of ranks match in
  /// order. A transfer to oneself is a copy. Sizes may exceed 2³¹.
  virtual std::unique_ptr<Pending> exchange(std::vector<Transfer> sends, std::vector<Transfer> receives) = 0;

  /// Rank r's part of `buffer` is [offsets[r], offsets[r + 1]) bytes; afterwards every rank has all parts. In place.
  virtual std::unique_ptr<Pending> all_gather(void* buffer, std::vector<size_t> offsets) = 0;

  /// The bytes of every rank, by rank. Blocks. For small things: agreement, errors, sums in a fixed order.
  virtual std::vector<std::string> all_gather_strings(std::string_view mine) = 0;

  /// The bytes of rank `root` on every rank. Blocks.
  virtual std::string broadcast(std::string_view mine, int root = 0) = 0;

  /// Returns when every rank has called it.
  virtual void barrier() = 0;
};

/// A group of one: transfers are copies.
std::unique_ptr<Communicator> make_local_communicator();

/// Element-wise over ranks, in rank order, so that every rank gets the same bits.
std::vector<double> all_reduce_sum(Communicator& communicator, const std::vector<double>& values);
int64_t all_reduce_max(Communicator& communicator, int64_t value);

/// If `error` is not empty on some rank, every rank throws the same Error(code) that says who failed and why.
/// `code` is the ExitCode of the lowest failing rank.
void agree_on_errors(Communicator& communicator, int exit_code, const std::string& error);

}  // namespace tsugi
