#include <cmath>

#include "ops/activation/activation.h"

namespace tsugi::reference {
namespace {

const double kSlope = std::sqrt(2.0 / 3.14159265358979323846);
constexpr double kCubic = 0.044715;

double inner(double x) { return kSlope * (x + kCubic * x * x * x); }

}  // namespace

double gelu(double x) { return 0.5 * x * (1.0 + std::tanh(inner(x))); }

double gelu_derivative(double x) {
  const double t = std::tanh(inner(x));
  return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kSlope * (1.0 + 3.0 * kCubic * x * x);
}

}  // namespace tsugi::reference
