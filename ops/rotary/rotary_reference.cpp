#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/norm/norm.h"
#include "ops/rotary/rotary.h"

namespace tsugi::reference {
namespace {

/// Turns the planes of x in place by sign · position · frequency.
void turn(std::span<double> x, double sign, int64_t position, std::span<const double> frequencies, double factor) {
  const size_t half = frequencies.size();
  for (size_t i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    const double cosine = factor * std::cos(angle);
    const double sine = sign * factor * std::sin(angle);
    const double first = x[i];
    const double second = x[i + half];
    x[i] = first * cosine - second * sine;
    x[i + half] = second * cosine + first * sine;
  }
}

}  // namespace

void rotary_forward(std::span<const double> x, int64_t position, std::span<const double> frequencies,
                    double attention_factor, std::span<const double> gamma, double epsilon, std::span<double> y) {
  const auto width = static_cast<int64_t>(x.size());
  if (gamma.empty()) {
    std::copy(x.begin(), x.end(), y.begin());
  } else {
    rms_norm_forward(1, width, x, gamma, epsilon, y);
  }
  turn(y, 1.0, position, frequencies, attention_factor);
}

void rotary_backward(std::span<const double> x, int64_t position, std::span<const double> frequencies,
                     double attention_factor, std::span<const double> gamma, double epsilon,
                     std::span<const double> d_y, std::span<double> d_x, std::span<double> d_gamma) {
  std::vector<double> d_normed(d_y.begin(), d_y.end());
  turn(d_normed, -1.0, position, frequencies, attention_factor);
  if (gamma.empty()) {
    std::copy(d_normed.begin(), d_normed.end(), d_x.begin());
  } else {
    rms_norm_backward(1, static_cast<int64_t>(x.size()), x, gamma, epsilon, d_normed, d_x, d_gamma);
  }
}

}  // namespace tsugi::reference
