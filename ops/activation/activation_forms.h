// The activations that are the same arithmetic everywhere, and the choice among all: shared by the CPU and by kernels.
#pragma once

#include "ops/activation/activation_kind.h"

namespace tsugi {

struct Relu {
  static constexpr float value(float x) { return x < 0.0f ? 0.0f : x; }
  static constexpr float derivative(float x) { return x > 0.0f ? 1.0f : 0.0f; }
};
struct ReluSquared {
  static constexpr float value(float x) { return x < 0.0f ? 0.0f : x * x; }
  static constexpr float derivative(float x) { return x > 0.0f ? 2.0f * x : 0.0f; }
};

/// Calls f with an object that has value(x) and derivative(x), so that a loop has no branch. Forms: what each side has
/// of its own, Forms::Gelu, Forms::GeluErf, Forms::Silu and Forms::Tanh. False for kNone.
template <class Forms, class F>
bool dispatch_activation(Activation activation, F&& f) {
  switch (activation) {
    case Activation::kGelu:
      f(typename Forms::Gelu{});
      return true;
    case Activation::kGeluErf:
      f(typename Forms::GeluErf{});
      return true;
    case Activation::kSilu:
      f(typename Forms::Silu{});
      return true;
    case Activation::kRelu:
      f(Relu{});
      return true;
    case Activation::kReluSquared:
      f(ReluSquared{});
      return true;
    case Activation::kTanh:
      f(typename Forms::Tanh{});
      return true;
    case Activation::kNone:
      break;
  }
  return false;
}

}  // namespace tsugi
