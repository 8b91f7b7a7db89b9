// Integer arithmetic on numbers that came from a file: it throws instead of wrapping.
#pragma once

#include <cstdint>
#include <string>

#include "ops/base/error.h"

namespace tsugi {

/// a * b, or a data Error that says what `what` is.
inline int64_t checked_multiply(int64_t a, int64_t b, const std::string& what) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result)) {
    throw Error(ExitCode::kData, what + " overflows: " + std::to_string(a) + " * " + std::to_string(b));
  }
  return result;
}

/// a + b, or a data Error that says what `what` is.
inline int64_t checked_add(int64_t a, int64_t b, const std::string& what) {
  int64_t result = 0;
  if (__builtin_add_overflow(a, b, &result)) {
    throw Error(ExitCode::kData, what + " overflows: " + std::to_string(a) + " + " + std::to_string(b));
  }
  return result;
}

}  // namespace tsugi
