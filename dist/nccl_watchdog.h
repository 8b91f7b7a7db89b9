// For a host that cannot look after its transfers itself.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "dist/point_to_point.h"
#include "ops/base/error.h"
#include "ops/cuda/runtime.h"

namespace tsugi {

/// The host issues work behind a transfer, and CUDA takes only so much of it before a call blocks. Where the transfer
/// never ends, neither does the call, and the host does not come to wait() and its time limit. Then this thread says
/// so, and the way on is the end of the process.
///
/// It makes no call of CUDA, which might block beside the host's: a stream writes into host memory how far the device
/// is.
class NcclWatchdog {
 public:
  /// Gets Error(kPeerLost), on a thread that is not the host's. Does not return.
  using OnHang = std::function<void(const Error&)>;

  /// `seconds`: from the moment when the device has come to a transfer to that when it is over.
  NcclWatchdog(double seconds, OnHang on_hang);
  ~NcclWatchdog();
  NcclWatchdog(const NcclWatchdog&) = delete;

  /// Transfers in the order in which they end, the oldest kMost of them: the device comes to this one at `begun`, and
  /// it is over at `over`.
  void watch(CollectiveId id, const cuda::Event& begun, const cuda::Event& over);
  void leave(CollectiveId id);

  static constexpr size_t kMost = 512;

 private:
  /// Two bytes of flags_ are a transfer's, and become `stamp`. Those who had them before it, until the bytes come
  /// round, had other stamps: no byte is ever cleared.
  struct Watched {
    CollectiveId id;
    size_t place;
    unsigned char stamp;
  };
  bool reached(const Watched& one, size_t which) const;
  void run();

  const double seconds_;
  const OnHang on_hang_;
  cuda::HostBuffer flags_;
  cuda::Stream stream_;  ///< writes them
  uint64_t count_ = 0;
  std::mutex mutex_;
  std::condition_variable ends_;
  bool ending_ = false;
  std::deque<Watched> watched_;
  std::thread thread_;  ///< last: uses all of the above
};

}  // namespace tsugi
