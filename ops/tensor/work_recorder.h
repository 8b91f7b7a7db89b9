// Work of a device that is recorded once and launched often.
#pragma once

#include <functional>

namespace tsugi {

struct LossSum;

/// Recorded work reads and writes the same memory at every launch, and knows nothing of the host: what changes from one
/// launch to the next must lie in that memory before.
class WorkRecorder {
 public:
  virtual ~WorkRecorder() = default;

  virtual bool has(const void* key) const = 0;
  /// Calls `work`, and keeps under `key` what it asks the device for, instead of doing it. It must form one
  /// cross-entropy, whose result is not known then (zeros are returned), and neither read from the device nor copy to
  /// it. Everything in it was done before in the ordinary way.
  virtual void record(const void* key, const std::function<void()>& work) = 0;
  /// Does it. The result of the cross-entropy; waits for it.
  virtual LossSum launch(const void* key) = 0;
};

}  // namespace tsugi
