// A word in memory that processes of a host share: one thread sleeps on it, any other wakes it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tsugi {

/// The one who answers it reads rings(), looks for work, and if there is none sleeps: a ring in between ends the sleep
/// at once. It may lie in memory of several processes; if one of them dies, only its own rings are missing.
class alignas(64) Doorbell {
 public:
  /// Ends every sleep. Cheap while nobody sleeps.
  void ring();
  /// Ends a sleep that has an end: who sleeps without one does not wait for what others do.
  void knock();
  /// How often it was rung (wraps around).
  uint32_t rings() const { return rings_.load(std::memory_order_acquire); }
  /// Sleeps until it is rung once more than `seen`, or until the time is over; false: nobody rang. One thread only.
  bool sleep(uint32_t seen, std::chrono::nanoseconds longest);
  /// Sleeps until ring() ends it.
  void sleep(uint32_t seen);

 private:
  enum Sleep : uint32_t { kAwake, kForRings, kForKnocksToo };
  void wait(uint32_t seen, Sleep how, const void* timeout);

  std::atomic<uint32_t> rings_{0};
  std::atomic<uint32_t> sleep_{kAwake};
};

static_assert(std::atomic<uint32_t>::is_always_lock_free);

}  // namespace tsugi
