// For a host that cannot look after its transfers itself.
#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "dist/point_to_point.h"
#include "ops/base/error.h"
#include "ops/cuda/signal.h"

namespace tsugi {

/// The host issues work behind a transfer, and CUDA takes only so much of it before a call blocks. Where the transfer
/// never ends, neither does the call, and the host does not come to wait() and its time limit. Then this thread says
/// so, and the way on is the end of the process.
class NcclWatchdog {
 public:
  /// Gets Error(kPeerLost), on a thread that is not the host's. Does not return.
  using OnHang = std::function<void(const Error&)>;

  /// `seconds`: from the moment when the device has come to a transfer to that when it is over.
  NcclWatchdog(double seconds, OnHang on_hang);
  ~NcclWatchdog();
  NcclWatchdog(const NcclWatchdog&) = delete;

  /// Transfers of one stream, in its order: the device comes to this one at `begun`, and it is over at `over`. Both
  /// are recorded, and neither is recorded again or goes before leave().
  void watch(CollectiveId id, const cuda::Signal& begun, const cuda::Signal& over);
  void leave(CollectiveId id);

 private:
  struct Watched {
    CollectiveId id;
    const cuda::Signal* begun;
    const cuda::Signal* over;
  };
  void run();

  const double seconds_;
  const OnHang on_hang_;
  std::mutex mutex_;
  std::condition_variable ends_;
  bool ending_ = false;
  std::deque<Watched> watched_;
  std::thread thread_;  ///< last: uses all of the above
};

}  // namespace tsugi
