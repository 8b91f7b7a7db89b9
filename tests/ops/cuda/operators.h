// Helpers of the kernels' tests: typed device arrays.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "tests/ops/cuda/low_precision.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi::testing {

/// A device array of f32 or bf16.
class DeviceArray {
 public:
  DeviceArray(int64_t count, DType type)
      : buffer_(static_cast<size_t>(count) * size_of(type)), type_(type), count_(static_cast<size_t>(count)) {}
  /// Rounds the values to `type` in place and copies them, so that both sides see the same input.
  DeviceArray(std::vector<double>& values, DType type) : DeviceArray(std::ssize(values), type) {
    dispatch_compute_type(type, [&]<class T>(T) {
      std::vector<T> rounded;
      for (double& value : values) {
        rounded.push_back(T(static_cast<float>(value)));
        value = static_cast<double>(static_cast<float>(rounded.back()));
      }
      cuda::Stream stream;
      stream.copy(buffer_.data(), rounded.data(), buffer_.bytes());
      stream.synchronize();
    });
  }

  void* data() const { return buffer_.data(); }
  float* floats() const { return buffer_.as<float>(); }
  DType type() const { return type_; }

  std::vector<std::byte> bytes(cuda::Stream& stream) const {
    std::vector<std::byte> host(buffer_.bytes());
    stream.copy(host.data(), buffer_.data(), host.size());
    stream.synchronize();
    return host;
  }
  std::vector<double> read(cuda::Stream& stream) const {
    const std::vector<std::byte> host = bytes(stream);
    std::vector<double> values(count_);
    dispatch_compute_type(type_, [&]<class T>(T) {
      for (size_t i = 0; i < count_; ++i) {
        T value;
        std::memcpy(static_cast<void*>(&value), host.data() + i * sizeof(T), sizeof(T));
        values[i] = static_cast<double>(static_cast<float>(value));
      }
    });
    return values;
  }

 private:
  cuda::Buffer buffer_;
  DType type_;
  size_t count_;
};

}  // namespace tsugi::testing
