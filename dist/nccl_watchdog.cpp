#include "dist/nccl_watchdog.h"

#include <algorithm>
#include <chrono>
#include <cstring>

#include "dist/lost_peer.h"

namespace tsugi {

NcclWatchdog::NcclWatchdog(double seconds, OnHang on_hang)
    : seconds_(seconds), on_hang_(std::move(on_hang)), flags_(2 * kMost) {
  std::memset(flags_.data(), 0, flags_.bytes());
  thread_ = std::thread([this] { run(); });
}

NcclWatchdog::~NcclWatchdog() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ends_.notify_one();
  thread_.join();
}

void NcclWatchdog::watch(CollectiveId id, const cuda::Event& begun, const cuda::Event& over) {
  const Watched one{id, count_ % kMost, static_cast<unsigned char>(1 + count_ / kMost % 255)};
  {
    const std::lock_guard lock(mutex_);
    if (watched_.size() == kMost) return;
    watched_.push_back(one);
  }
  ++count_;
  auto* const flags = static_cast<unsigned char*>(flags_.data()) + 2 * one.place;
  stream_.wait(begun);
  stream_.fill(flags, one.stamp, 1);
  stream_.wait(over);
  stream_.fill(flags + 1, one.stamp, 1);
}

void NcclWatchdog::leave(CollectiveId id) {
  const std::lock_guard lock(mutex_);
  std::erase_if(watched_, [&](const Watched& one) { return one.id.sequence == id.sequence; });
}

bool NcclWatchdog::reached(const Watched& one, size_t which) const {
  return static_cast<const volatile unsigned char*>(flags_.data())[2 * one.place + which] == one.stamp;
}

void NcclWatchdog::run() {
  using Clock = std::chrono::steady_clock;
  const std::chrono::duration<double> pause(std::clamp(seconds_ / 50, 0.001, 0.25));
  uint64_t at = 0;          // the transfer with this number, 0: none, is where the device stands …
  Clock::time_point since;  // … from then on
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, pause, [&] { return ending_; })) {
    while (!watched_.empty() && reached(watched_.front(), 1)) watched_.pop_front();
    if (watched_.empty() || !reached(watched_.front(), 0)) {
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
