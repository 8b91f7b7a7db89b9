// Work of a device that is recorded once and launched often.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

namespace tsugi {

class Tensor;

/// Recorded work reads and writes the same memory at every launch, and knows nothing of the host: what changes from one
/// launch to the next must lie in that memory before. Dropout alone is told: it drops what belongs to `first_sample`.
class WorkRecorder {
 public:
  /// The memory that the work writes gradients to, and in which of two ways (as a rank's last work of a step, or not).
  using Key = std::pair<const void*, bool>;

  virtual ~WorkRecorder() = default;

  virtual bool has(const Key& key) const = 0;
  /// Calls `work`, and keeps under `key` what it asks the device for, instead of doing it. It must form one
  /// cross-entropy, of which it is told nothing (zeros), and neither read from the device nor copy to it. Its batch
  /// begins with `first_sample`. Everything in it was done before in the ordinary way.
  virtual void record(const Key& key, uint64_t first_sample, const std::function<void()>& work) = 0;
  /// Called by `work`: whenever it is launched, the host calls `then` at this place.
  virtual void cut(std::function<void()> then) = 0;
  /// Does it; sum and count of the cross-entropy go to `loss` (f64 [2], of the device). Does not wait.
  virtual void launch(const Key& key, uint64_t first_sample, const Tensor& loss) = 0;
};

}  // namespace tsugi
