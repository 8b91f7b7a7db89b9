// How long work takes on the device.
#pragma once

#include <memory>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

struct TimerState;

/// Between two points of one stream. On the emulator: time of the host.
class Timer {
 public:
  Timer();
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  void start(Stream& stream);
  void stop(Stream& stream);
  /// After the stream was synchronised.
  double seconds() const;

 private:
  std::unique_ptr<TimerState> state_;
};

}  // namespace tsugi::cuda
