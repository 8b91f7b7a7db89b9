// Fibers: functions on stacks of their own that hand the processor to each other explicitly.
#pragma once

#include <cstddef>

namespace tsugi::emulated {

/// A suspended thread of control. A default-constructed one stands for the caller's own stack.
class Fiber {
 public:
  Fiber() = default;
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next switch to this fiber calls `entry`, which must never return. Whatever ran here before is forgotten.
  void start(void (*entry)());

  /// Suspends `from`, which must be the running one, and resumes `to`.
  static void switch_between(Fiber& from, Fiber& to);

  /// To be called first by an entry function, with the fiber that switched to it.
  static void entered(Fiber& from);

 private:
  void* stack_pointer_ = nullptr;
  std::byte* stack_ = nullptr;
  // What AddressSanitizer must know to follow the switches.
  const void* bottom_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;
};

}  // namespace tsugi::emulated
