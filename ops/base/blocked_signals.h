// Threads that take no signals.
#pragma once

#include <pthread.h>

#include <csignal>

namespace tsugi {

/// While it lives, signals go to other threads, and threads that are started take none: they are for the main thread.
/// Those of a crash stay with the thread that crashes, and profilers see all.
class AsynchronousSignalsBlocked {
 public:
  AsynchronousSignalsBlocked() {
    sigset_t set;
    sigfillset(&set);
    for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGPROF}) sigdelset(&set, signal);
    pthread_sigmask(SIG_BLOCK, &set, &before_);
  }
  ~AsynchronousSignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AsynchronousSignalsBlocked(const AsynchronousSignalsBlocked&) = delete;
  AsynchronousSignalsBlocked& operator=(const AsynchronousSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace tsugi
