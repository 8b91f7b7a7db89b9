// Helpers of the operator tests: contexts, seeded data, and comparison with the double-precision reference.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <span>
#include <vector>

#include "ops/tensor/context.h"

namespace tsugi::testing {

/// Memory full of NaN, in f32 and bf16: who reads what nobody wrote shows it.
class PoisonedMemory : public HeapMemory {
 public:
  std::shared_ptr<Storage> allocate(size_t bytes) override {
    std::shared_ptr<Storage> storage = HeapMemory::allocate(bytes);
    std::memset(storage->data, 0xff, bytes);
    return storage;
  }
};

/// A CPU context with its own threads and poisoned memory.
struct CpuContext {
  explicit CpuContext(int threads = 1) : pool(threads), context(Device{}, pool, memory) {}
  ThreadPool pool;
  PoisonedMemory memory;
  Context context;
  operator const Context&() const { return context; }
};

/// Roughly normal numbers (sum of uniforms) with standard deviation `scale`, the same for the same seed.
inline std::vector<double> random_values(int64_t count, uint64_t seed, double scale = 1.0) {
  std::vector<double> values(static_cast<size_t>(count));
  const RandomStream stream{seed, 0, 0};
  for (size_t i = 0; i < values.size(); ++i) {
    const Philox4 words = stream.block(static_cast<uint32_t>(i));
    double sum = -2.0;
    for (const uint32_t word : words) sum += uniform_open(word);
    values[i] = scale * sum * std::sqrt(3.0);
  }
  return values;
}

/// Rounds the values to `type` in place and returns the tensor that holds them, so that both sides see the same input.
inline Tensor to_tensor(const Context& context, std::vector<double>& values, Shape shape, DType type) {
  Tensor tensor = context.empty(shape, type);
  dispatch_compute_type(type, [&]<class T>(T) {
    for (size_t i = 0; i < values.size(); ++i) {
      const T rounded = T(static_cast<float>(values[i]));
      tensor.data<T>()[i] = rounded;
      values[i] = static_cast<double>(static_cast<float>(rounded));
    }
  });
  return tensor;
}

inline std::vector<double> to_doubles(const Tensor& tensor) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (tensor.dtype()) {
      case DType::kF32:
        values[i] = static_cast<double>(tensor.data<float>()[i]);
        break;
      case DType::kBF16:
        values[i] = static_cast<double>(static_cast<float>(tensor.data<bf16>()[i]));
        break;
      case DType::kI32:
        values[i] = tensor.data<int32_t>()[i];
        break;
      case DType::kF64:
        values[i] = tensor.data<double>()[i];
        break;
    }
  }
  return values;
}

inline double max_abs(std::span<const double> values) {
  double largest = 0.0;
  for (const double value : values) largest = std::max(largest, std::fabs(value));
  return largest;
}

inline double max_difference(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::fabs(a[i] - b[i]);
    if (std::isnan(difference)) return difference;
    largest = std::max(largest, difference);
  }
  return largest;
}

inline double inner_product(std::span<const double> a, std::span<const double> b) {
  EXPECT_EQ(a.size(), b.size());
  return std::inner_product(a.begin(), a.begin() + static_cast<ptrdiff_t>(std::min(a.size(), b.size())), b.begin(),
                            0.0);
}

/// The result is right up to `relative` of the largest expected magnitude.
inline void expect_close(const Tensor& actual, std::span<const double> expected, double relative) {
  const std::vector<double> values = to_doubles(actual);
  EXPECT_LE(max_difference(values, expected), relative * std::max(1e-30, max_abs(expected)));
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace tsugi::testing
