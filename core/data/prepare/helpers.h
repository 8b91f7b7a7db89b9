// Work that rank 0 gives to all other ranks and gets back.
//
// The ranks meet in rounds: rank 0 hands every other rank some requests and takes from it the answers to those of two
// rounds before, so that a rank always has work while messages travel. Only rank 0 reads and writes files; the others
// need none. A rank that is killed ends the job (its launcher does that); one that hangs ends it after the time limit
// of the communicator.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "dist/communicator.h"

namespace tsugi {

/// From a request's bytes to those of its answer; called from several threads. May throw Error.
using RequestWork = std::function<std::string(std::string_view request)>;

/// On rank 0. While it lives, it alone uses the communicator.
class HelperRanks {
 public:
  /// Collective: the other ranks call serve_requests().
  explicit HelperRanks(Communicator& communicator);
  /// No request may be under way. Lets the other ranks leave serve_requests().
  ~HelperRanks();
  HelperRanks(const HelperRanks&) = delete;
  HelperRanks& operator=(const HelperRanks&) = delete;

  /// Threads of all other ranks.
  int threads() const { return threads_; }
  /// So many requests must be under way to keep them all busy.
  int requests() const { return threads_ * kUnderWay; }

  /// What requests are from now on: the other ranks make their work from it. No request may be under way.
  void begin(std::string setup);
  /// The answer; waits for it. From any thread. Throws the Error of the work, or Error(kPeerLost).
  std::string ask(std::string request);

 private:
  /// Being computed, waiting there, and on the way back.
  static constexpr int kUnderWay = 3;

  struct Ask {
    std::string request;
    std::optional<std::string> answer;
  };
  using Batch = std::vector<Ask*>;

  void run();
  /// One round; false when it was the last.
  bool round();
  std::vector<Batch> choose();

  Communicator& communicator_;
  std::vector<int> threads_of_;  ///< by rank
  int threads_ = 0;

  std::mutex mutex_;
  std::condition_variable wake_;      ///< for the thread
  std::condition_variable answered_;  ///< for those who ask
  std::deque<Ask*> waiting_;
  std::deque<std::vector<Batch>> sent_;  ///< by rank, of the last two rounds
  std::optional<std::string> setup_;     ///< not sent yet
  size_t next_rank_ = 1;                 ///< gets the next request when there are few
  bool stop_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

/// Who works on the pieces of a pipeline (run_in_order): threads of this rank, and one more for every request that the
/// other ranks can have under way.
struct PieceWorkers {
  int threads = 1;
  HelperRanks* helpers = nullptr;  ///< none: this rank alone

  int count() const { return threads + (helpers == nullptr ? 0 : helpers->requests()); }
  bool here(int worker) const { return worker < threads; }
  /// How many pieces may be under way.
  size_t limit() const {
    const int others = helpers == nullptr ? 0 : helpers->requests() + helpers->threads();
    return 2 * static_cast<size_t>(threads) + 2 + static_cast<size_t>(others);
  }
};

/// On every other rank: computes on `threads` threads what rank 0 asks for, until that ends. Throws Error(kPeerLost).
void serve_requests(Communicator& communicator, int threads,
                    const std::function<RequestWork(std::string_view setup)>& make_work);

}  // namespace tsugi
