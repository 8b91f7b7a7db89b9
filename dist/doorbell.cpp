#include "dist/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

namespace tsugi {
namespace {

// Not FUTEX_PRIVATE_FLAG: who rings may be another process.
void futex(std::atomic<uint32_t>& word, int operation, uint32_t value, const void* timeout) {
  syscall(SYS_futex, reinterpret_cast<uint32_t*>(&word), operation, value, timeout, nullptr, 0);
}

}  // namespace

// Either the one who rings sees that somebody is about to sleep, or the sleeper sees the ring: all of it is in one
// sequential order.
void Doorbell::ring() {
  rings_.fetch_add(1);
  if (sleep_.load() != kAwake) futex(rings_, FUTEX_WAKE, 1, nullptr);
}

void Doorbell::knock() {
  rings_.fetch_add(1);
  if (sleep_.load() == kForKnocksToo) futex(rings_, FUTEX_WAKE, 1, nullptr);
}

void Doorbell::wait(uint32_t seen, Sleep how, const void* timeout) {
  sleep_.store(how);
  if (rings_.load() == seen) futex(rings_, FUTEX_WAIT, seen, timeout);
  sleep_.store(kAwake);
}

bool Doorbell::sleep(uint32_t seen, std::chrono::nanoseconds longest) {
  constexpr int64_t kSecond = 1'000'000'000;
  const timespec timeout{static_cast<time_t>(longest.count() / kSecond), static_cast<long>(longest.count() % kSecond)};
  wait(seen, kForKnocksToo, &timeout);
  return rings() != seen;
}

void Doorbell::sleep(uint32_t seen) { wait(seen, kForRings, nullptr); }

}  // namespace tsugi
