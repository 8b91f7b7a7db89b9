#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/rotary/rotary.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr double kTwoPi = 6.28318530717958647692;

/// Llama 3.1: wavelengths beyond original_context / low_freq_factor are stretched, those below original_context /
/// high_freq_factor kept, between them interpolated in the number of rotations within the original context.
double llama3_frequency(double frequency, const RotaryScaling& s) {
  const double rotations = static_cast<double>(s.original_context) * frequency / kTwoPi;
  if (rotations < s.low_freq_factor) return frequency / s.factor;
  if (rotations > s.high_freq_factor) return frequency;
  const double smooth = (rotations - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1.0 - smooth) * frequency / s.factor + smooth * frequency;
}

/// The (fractional) plane that turns `rotations` times within the original context.
double yarn_plane(double rotations, int64_t dim, double theta, const RotaryScaling& s) {
  return static_cast<double>(dim) * std::log(static_cast<double>(s.original_context) / (rotations * kTwoPi)) /
         (2.0 * std::log(theta));
}

/// YaRN, eq. 23, with the ramp over planes as in the authors' code.
void stretch_by_yarn(std::vector<double>& frequencies, int64_t dim, double theta, const RotaryScaling& s) {
  double low = yarn_plane(s.beta_fast, dim, theta, s);
  double high = yarn_plane(s.beta_slow, dim, theta, s);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;  // a step instead of a division by zero
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double stretched = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= stretched / s.factor + (1.0 - stretched);
  }
}

}  // namespace

std::vector<double> rotary_frequencies(int64_t dim, double theta, const RotaryScaling& scaling) {
  CHECK(dim >= 2 && dim % 2 == 0) << dim;
  CHECK_GT(theta, 1.0);
  CHECK_GT(scaling.factor, 0.0);
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dim / 2; ++i) {
    frequencies.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim)));
  }
  switch (scaling.kind) {
    case RotaryScaling::Kind::kNone:
      break;
    case RotaryScaling::Kind::kLinear:
      for (double& frequency : frequencies) frequency /= scaling.factor;
      break;
    case RotaryScaling::Kind::kLlama3:
      CHECK_GT(scaling.original_context, 0);
      CHECK_GT(scaling.high_freq_factor, scaling.low_freq_factor);
      for (double& frequency : frequencies) frequency = llama3_frequency(frequency, scaling);
      break;
    case RotaryScaling::Kind::kYarn:
      CHECK_GT(scaling.original_context, 0);
      stretch_by_yarn(frequencies, dim, theta, scaling);
      break;
  }
  return frequencies;
}

double rotary_attention_factor(const RotaryScaling& scaling) {
  if (scaling.kind != RotaryScaling::Kind::kYarn) return 1.0;
  if (scaling.attention_factor > 0.0) return scaling.attention_factor;
  return scaling.factor <= 1.0 ? 1.0 : 0.1 * std::log(scaling.factor) + 1.0;
}

Tensor rotary_table(const Context& context, int64_t positions, int64_t dim, double theta,
                    const RotaryScaling& scaling) {
  const std::vector<double> frequencies = rotary_frequencies(dim, theta, scaling);
  const double factor = rotary_attention_factor(scaling);
  const Tensor table = context.empty({positions, dim}, DType::kF32);
  if (context.meta()) return table;
  std::vector<float> values(static_cast<size_t>(context.operators() == nullptr ? 0 : table.elements()));
  float* cosines = values.empty() ? table.data<float>() : values.data();
  for (int64_t position = 0; position < positions; ++position, cosines += dim) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(position) * static_cast<float>(frequencies[i]);
      cosines[i] = static_cast<float>(factor * std::cos(static_cast<double>(angle)));
      cosines[i + frequencies.size()] = static_cast<float>(factor * std::sin(static_cast<double>(angle)));
    }
  }
  if (!values.empty()) copy_from_host(context, values.data(), table);
  return table;
}

}  // namespace tsugi
