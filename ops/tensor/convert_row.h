// Runs of numbers between their stored type and the f32 in which everything is computed.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/tensor/dtype.h"

namespace tsugi {

/// to[i] = from[i], exactly.
inline void widen(const bf16* from, float* to, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(from[i]);
}
inline void widen(const float* from, float* to, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

/// to[i] = from[i], rounded to nearest even.
inline void narrow(const float* from, bf16* to, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) store(to[i], from[i]);
}
inline void narrow(const float* from, float* to, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

}  // namespace tsugi
