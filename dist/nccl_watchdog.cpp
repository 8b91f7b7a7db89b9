#include "dist/nccl_watchdog.h"

#include <algorithm>

#include "dist/lost_peer.h"

namespace tsugi {

NcclWatchdog::NcclWatchdog(double seconds, OnHang on_hang)
    : seconds_(seconds), on_hang_(std::move(on_hang)), thread_([this] { run(); }) {}

NcclWatchdog::~NcclWatchdog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ends_.notify_one();
  thread_.join();
}

void NcclWatchdog::watch(CollectiveId id, const cuda::Signal& begun, const cuda::Signal& over) {
  const std::lock_guard lock(mutex_);
  watched_.push_back({id, &begun, &over});
}

void NcclWatchdog::leave(CollectiveId id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(watched_, [&](const Watched& one) { return one.id.sequence == id.sequence; });
}

void NcclWatchdog::run() {
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> pause(std::clamp(seconds_ / 50, 0.001, 0.25));
  uint64_t at = 0;          // the transfer with this number, 0: none, is where the device stands …
  Clock::time_point since;  // … from then on
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, pause, [&] { return ending_; })) {
    while (!watched_.empty() && watched_.front().over->passed()) watched_.pop_front();
    if (watched_.empty() || !watched_.front().begun->passed()) {
      at = 0;
      continue;
    }
    const CollectiveId id = watched_.front().id;
    if (at != id.sequence) since = Clock::now();
    at = id.sequence;
    if (std::chrono::duration<double>(Clock::now() - since).count() < seconds_) continue;
    lock.unlock();
    on_hang_(Error(ExitCode::kPeerLost, id.to_string() + " over NCCL is not over after " + in_seconds(seconds_) +
                                            ", and this process waits for its device: a rank is gone or hangs"));
    return;
  }
}

}  // namespace tsugi
