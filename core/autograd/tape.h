// Reverse-mode differentiation at the grain of fused operators.
//
// A function computes its outputs and records a closure that, given the gradients of the outputs, adds the gradients of
// its inputs. backward() runs the closures in reverse and frees each one, with what it saved, as it goes.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "ops/base/recycled.h"
#include "ops/tensor/context.h"

namespace tsugi {

/// The gradient of a value, collected from all of its uses.
class Gradient {
 public:
  /// Adds `tensor`; the first one is adopted, not copied.
  void add(const Context& context, Tensor tensor);
  /// Defined: what is added must have gone through the backward pass of GELU already, whose input this is. For values
  /// of which linear() is the only use.
  Tensor gelu_input = {};

  /// Gives the tensor away (undefined when nothing was added).
  Tensor take() { return std::move(tensor_); }

 private:
  Tensor tensor_;
};

/// A value on the tape. Without a gradient slot it is a constant.
struct Variable {
  Tensor value;
  std::shared_ptr<Gradient> gradient;

  bool requires_gradient() const { return gradient != nullptr; }
};

class Tape {
 public:
  /// With `recording` false nothing is recorded and no output asks for gradients (evaluation).
  explicit Tape(const Context& context, bool recording = true) : context_(context), recording_(recording) {}

  const Context& context() const { return context_; }
  bool recording() const { return recording_; }

  /// A variable for `value`, with a gradient slot if `requires_gradient` and the tape is recording.
  Variable variable(Tensor value, bool requires_gradient) const {
    return {std::move(value), requires_gradient && recording_ ? make_recycled<Gradient>() : nullptr};
  }
  template <class F>
  void record(F&& backward) {
    if (recording_) entries_.emplace_back(std::forward<F>(backward));
  }
  /// Runs all closures, last first.
  void backward();

 private:
  Context context_;
  bool recording_;
  std::vector<RecycledCall, RecyclingAllocator<RecycledCall>> entries_;
};

/// `tensor` if nothing else shares it, else a copy: what may be changed in place.
Tensor make_unique_tensor(const Context& context, Tensor tensor);

}  // namespace tsugi
