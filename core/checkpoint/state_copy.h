// A copy of a rank's state, from which a checkpoint is written while training goes on.
#pragma once

#include <cstdint>
#include <vector>

#include "core/checkpoint/checkpoint.h"
#include "ops/tensor/context.h"

namespace tsugi {

class StateCopy {
 public:
  /// Takes memory for ranges of together `elements` elements: 12 bytes each.
  StateCopy(const Context& context, int64_t elements);
  static int64_t bytes(int64_t elements) { return elements * kBuffers * static_cast<int64_t>(sizeof(float)); }

  /// Copies what the ranges point to; returns the same ranges, pointing into the copy.
  std::vector<StateRange> take(const std::vector<StateRange>& ranges);

 private:
  static constexpr int64_t kBuffers = 3;  // masters and two moments

  Context context_;
  Tensor buffer_;
};

}  // namespace tsugi
