// exp and tanh that the compiler can vectorise: straight-line code, no tables, no branches, no errno.
#pragma once

#include <bit>
#include <cstdint>

namespace tsugi {

/// e^x with about 1e-7 relative error; 0 below -87.3, saturates above 88.3. Cody–Waite reduction by ln 2 and a degree-6
/// polynomial (coefficients of Cephes expf).
inline float fast_exp(float x) {
  x = x < -87.33654f ? -87.33654f : x;
  x = x > 88.37626f ? 88.37626f : x;
  const float n = __builtin_floorf(x * 1.44269504088896341f + 0.5f);
  float r = x - n * 0.693359375f;
  r = r + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = static_cast<int32_t>(n) + 127;
  return p * std::bit_cast<float>(exponent << 23);
}

/// tanh x, absolute error about 1e-7.
inline float fast_tanh(float x) {
  const float magnitude = x < 0.0f ? -x : x;
  const float e = fast_exp(-2.0f * magnitude);
  const float t = (1.0f - e) / (1.0f + e);
  return x < 0.0f ? -t : t;
}

/// 1/(1 + e^-x), to about 3e-7 relative error also where it is tiny.
inline float fast_sigmoid(float x) { return 1.0f / (1.0f + fast_exp(-x)); }

/// 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))). (1 + tanh u)/2 is the logistic function of 2u, which does not cancel.
inline float gelu_tanh(float x) { return x * fast_sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x)); }

/// The derivative of gelu_tanh.
inline float gelu_tanh_derivative(float x) {
  const float e = fast_exp(-1.5957691216057308f * (x + 0.044715f * x * x * x));
  const float s = 1.0f / (1.0f + e);
  const float slope = 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x);
  return s + x * s * (e * s) * slope;  // e·s = 1 - s
}

/// Φ(x), the distribution function of the standard normal, to 1e-7: Abramowitz and Stegun, 7.1.26, with erfc formed
/// directly, so that the negative tail does not cancel.
inline float normal_cdf(float x) {
  const float z = 0.7071067811865476f * (x < 0.0f ? -x : x);
  const float t = 1.0f / (1.0f + 0.3275911f * z);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const float tail = 0.5f * p * t * fast_exp(-z * z);
  return x < 0.0f ? tail : 1.0f - tail;
}

}  // namespace tsugi
