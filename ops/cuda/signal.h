// For libraries that work on our streams, and for a host that must not simply wait for them.
#pragma once

#include <memory>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

struct SignalState;

/// A point in a stream that the host can ask about.
class Signal {
 public:
  Signal();
  ~Signal();
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void record(Stream& stream);
  /// All work before the point is over. Does not wait; true if nothing was recorded.
  bool done() const;
  /// Until then; where nothing was recorded not at all.
  void wait() const;

 private:
  std::unique_ptr<SignalState> state_;
};

/// The cudaStream_t; on the emulator the Stream itself.
void* handle_of(Stream& stream);

#ifndef __CUDACC__
/// Of the emulation: the stream goes on when `poll`, which is asked again and again and may touch device memory, has
/// said yes. What it waits for lies outside the emulator.
void enqueue_when(Stream& stream, std::function<bool()> poll);
#endif

}  // namespace tsugi::cuda
