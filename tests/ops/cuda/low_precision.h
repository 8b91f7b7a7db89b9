// The bound of low precision, and dropout by its definition.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tests/ops/testing.h"

namespace tsugi::testing {

inline double rounded(double value, DType type) {
  const auto single = static_cast<float>(value);
  return static_cast<double>(type == DType::kBF16 ? static_cast<float>(bf16(single)) : single);
}
inline std::vector<double> rounded(std::vector<double> values, DType type) {
  for (double& value : values) value = rounded(value, type);
  return values;
}

/// How far the bound of low precision lets `actual` be from the exact result: twice as far as the same mathematics done
/// plainly in that precision, plus a rounding of the largest result.
inline double allowed_difference(std::span<const double> plain, std::span<const double> exact, DType type) {
  const double rounding = (type == DType::kBF16 ? 0x1p-8 : 0x1p-21) * std::max(1e-30, max_abs(exact));
  return 2.0 * max_difference(plain, exact) + rounding;
}
/// NaN if any element is, whatever comes after it.
inline double largest_error(std::span<const double> actual, std::span<const double> exact) {
  const auto nan = std::find_if(actual.begin(), actual.end(), [](double x) { return std::isnan(x); });
  return nan != actual.end() ? *nan : max_difference(actual, exact);
}
inline bool within_twice(std::span<const double> actual, std::span<const double> plain, std::span<const double> exact,
                         DType type) {
  return largest_error(actual, exact) <= allowed_difference(plain, exact, type);
}
inline void expect_within_twice(std::span<const double> actual, std::span<const double> plain,
                                std::span<const double> exact, DType type) {
  EXPECT_LE(largest_error(actual, exact), allowed_difference(plain, exact, type));
}

/// The factors of dropout of one array [batch, elements per sample], from its definition.
inline std::vector<double> factors_of(const Dropout& dropout, int64_t batch, int64_t elements) {
  std::vector<double> result;
  for (int64_t row = 0; row < batch; ++row) {
    for (int64_t i = 0; i < elements; ++i) {
      const bool dropped = dropout.active() && dropout.stream(row).word(static_cast<uint64_t>(i)) < dropout.threshold();
      result.push_back(dropped ? 0.0 : static_cast<double>(dropout.keep_scale()));
    }
  }
  return result;
}

}  // namespace tsugi::testing
