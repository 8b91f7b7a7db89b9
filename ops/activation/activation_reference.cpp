#include <cmath>

#include "ops/activation/activation.h"

namespace tsugi::reference {
namespace {

constexpr double kPi = 3.14159265358979323846;
const double kSlope = std::sqrt(2.0 / kPi);
constexpr double kCubic = 0.044715;

double inner(double x) { return kSlope * (x + kCubic * x * x * x); }
double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double cdf(double x) { return 0.5 * std::erfc(-x / std::sqrt(2.0)); }
double density(double x) { return std::exp(-0.5 * x * x) / std::sqrt(2.0 * kPi); }

}  // namespace

double activation(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu:
      return 0.5 * x * (1.0 + std::tanh(inner(x)));
    case Activation::kGeluErf:
      return x * cdf(x);
    case Activation::kSilu:
      return x * sigmoid(x);
    case Activation::kRelu:
      return x > 0.0 ? x : 0.0;
    case Activation::kReluSquared:
      return x > 0.0 ? x * x : 0.0;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kNone:
      break;
  }
  return x;
}

double activation_derivative(Activation activation, double x) {
  switch (activation) {
    case Activation::kGelu: {
      const double t = std::tanh(inner(x));
      return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * kSlope * (1.0 + 3.0 * kCubic * x * x);
    }
    case Activation::kGeluErf:
      return cdf(x) + x * density(x);
    case Activation::kSilu:
      return sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x)));
    case Activation::kRelu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::kReluSquared:
      return x > 0.0 ? 2.0 * x : 0.0;
    case Activation::kTanh:
      return 1.0 - std::tanh(x) * std::tanh(x);
    case Activation::kNone:
      break;
  }
  return 1.0;
}

}  // namespace tsugi::reference
