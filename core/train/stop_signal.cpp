#include "core/train/stop_signal.h"

#include <glog/logging.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace tsugi {
namespace {

std::atomic<int> requested{0};
std::atomic<int64_t> first_interrupt{0};  // nanoseconds of the monotonic clock, 0: none
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free,
              "a signal handler may not wait for a lock");

int64_t monotonic_nanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

/// Calls only what POSIX allows in a handler.
void on_signal(int signal) {
  const int saved_errno = errno;
  int none = 0;
  requested.compare_exchange_strong(none, signal);
  if (signal == SIGINT) {
    const int64_t now = monotonic_nanoseconds();
    int64_t never = 0;
    if (!first_interrupt.compare_exchange_strong(never, now) && now - never > 1'000'000'000) {
      std::signal(SIGINT, SIG_DFL);
      std::raise(SIGINT);  // blocked until the handler returns
    }
  }
  errno = saved_errno;
}

bool is_ignored(int signal) {
  struct sigaction current{};
  CHECK_EQ(sigaction(signal, nullptr, &current), 0);
  return (current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_IGN;
}

/// Handlers run on a stack of their own. oneDNN's products keep numbers further below the stack pointer than the 128
/// bytes that a handler's frame leaves alone (dnnl_sgemm of 2.6.3, AVX2): a signal in the middle of one left a broken
/// heap. Other threads that compute take no signals (ops/base/blocked_signals.h).
void give_handlers_a_stack() {
  alignas(64) static std::array<std::byte, size_t{1} << 16> memory;
  stack_t current{};
  CHECK_EQ(sigaltstack(nullptr, &current), 0);
  if ((current.ss_flags & SS_DISABLE) == 0) return;  // sanitizers bring one
  stack_t stack{};
  stack.ss_sp = memory.data();
  stack.ss_size = memory.size();
  CHECK_EQ(sigaltstack(&stack, nullptr), 0);
}

void install(int signal, void (*handler)(int)) {
  struct sigaction action{};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  CHECK_EQ(sigaction(signal, &action, nullptr), 0);
}

}  // namespace

void install_stop_signals() {
  give_handlers_a_stack();
  install(SIGTERM, on_signal);
  install(SIGUSR1, on_signal);
  if (!is_ignored(SIGINT)) install(SIGINT, on_signal);
  if (!is_ignored(SIGHUP)) install(SIGHUP, on_signal);
  install(SIGPIPE, SIG_IGN);
}

bool stop_requested() { return requested.load(std::memory_order_relaxed) != 0; }

int stop_signal() { return requested.load(std::memory_order_relaxed); }

void clear_stop_request() {
  requested = 0;
  first_interrupt = 0;
}

}  // namespace tsugi
