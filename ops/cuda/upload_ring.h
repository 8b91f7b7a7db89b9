// Pinned memory through which the host's bytes go to the device.
#pragma once

#include <array>
#include <cstddef>

#include "ops/cuda/runtime.h"
#include "ops/cuda/signal.h"

namespace tsugi::cuda {

/// A ring of segments. The host waits only where it comes to a segment again, and then for the copies out of that
/// segment, three segments (12 MiB) ago: not for what the stream has been given since. So a few small uploads never
/// wait for a transfer between ranks that the stream waits for, and that may never come.
class UploadRing {
 public:
  static constexpr size_t kSegments = 4;
  static constexpr size_t kSegmentBytes = size_t{4} << 20;

  /// `from` may change as soon as the call returns.
  void copy(Stream& stream, void* to, const void* from, size_t bytes);
  /// The stream has been waited for.
  void all_read() {
    left_ = {};
    used_ = 0;
  }

 private:
  void next_segment(Stream& stream);

  HostBuffer memory_;
  std::array<Signal, kSegments> read_;  ///< by the device; recorded when a segment is left
  std::array<bool, kSegments> left_{};  ///< and perhaps not read yet
  size_t segment_ = 0;
  size_t used_ = 0;  ///< bytes of it
};

}  // namespace tsugi::cuda
