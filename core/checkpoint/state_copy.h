// A copy of a rank's state in host memory, from which a checkpoint is written while training goes on, and through which
// the state of another device is written and read.
#pragma once

#include <cstdint>
#include <vector>

#include "core/checkpoint/checkpoint.h"
#include "ops/tensor/context.h"

namespace tsugi {

class StateCopy {
 public:
  /// Takes memory for ranges of together so many masters and moments.
  StateCopy(const Context& context, int64_t floats);
  static int64_t bytes(int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); }

  /// Copies what the ranges point to, on the context's device; returns the same ranges, pointing into the copy.
  std::vector<StateRange> take(const std::vector<StateRange>& ranges);

  /// The same ranges, pointing into the copy, with nothing copied: where a checkpoint is read to …
  std::vector<StateRange> places(const std::vector<StateRange>& ranges);
  /// … before this brings it to where the ranges point.
  void put(const std::vector<StateRange>& ranges);

 private:
  /// Calls f(state, copy, count) for every run of elements, in order.
  template <class F>
  void for_each_run(const std::vector<StateRange>& ranges, F&& f);

  Context context_;
  Tensor buffer_;
};

}  // namespace tsugi
