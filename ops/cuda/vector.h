// Elements that are loaded and stored together.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ops/tensor/dtype.h"

namespace tsugi::dev {

/// N elements of 16 bytes at most, aligned as a whole.
template <class T, int N>
struct alignas(sizeof(T) * N) Vector {
  static_assert(sizeof(T) * N <= 16);
  T data[N];
  constexpr T& operator[](int i) { return data[i]; }
  constexpr const T& operator[](int i) const { return data[i]; }
};

/// Elements of T that fill a 16-byte access.
template <class T>
inline constexpr int kVectorElements = static_cast<int>(16 / sizeof(T));

/// Sixteen bytes of any type.
using Words = Vector<uint32_t, 4>;

}  // namespace tsugi::dev
