// Helpers of the kernels' tests: on the emulator, and on a device (device_tests).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "ops/cuda/runtime.h"
#ifndef TSUGI_ON_DEVICE
#include "ops/cuda/device.cuh"
#endif

namespace tsugi::testing {

#ifdef TSUGI_ON_DEVICE
inline constexpr int kRepeats = 100;

/// Runs `work` often: what depends on the order in which a device executes shows sooner or later.
template <class F>
void for_seeds(F&& work) {
  for (int repeat = 0; repeat < kRepeats; ++repeat) work();
}
#else
inline constexpr uint64_t kSeeds = 8;

/// Runs `work` under several orders of execution.
template <class F>
void for_seeds(F&& work) {
  const uint64_t before = emulated::options().seed;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    emulated::options().seed = seed;
    work();
  }
  emulated::options().seed = before;
}

/// What the emulator says about `work` under the first seed that shows the bug; empty if none does.
template <class F>
std::string fault_of(F&& work) {
  std::string message;
  for_seeds([&] {
    if (!message.empty()) return;
    try {
      work();
    } catch (const emulated::Fault& fault) {
      message = fault.what();
    }
  });
  return message;
}
#endif

/// Device memory that starts as a copy of `values`.
template <class T>
class DeviceVector {
 public:
  explicit DeviceVector(size_t count) : buffer_(count * sizeof(T)), count_(count) {}
  explicit DeviceVector(const std::vector<T>& values) : DeviceVector(values.size()) {
    cuda::Stream stream;
    stream.copy(data(), values.data(), values.size() * sizeof(T));
    stream.synchronize();
  }
  T* data() const { return buffer_.as<T>(); }
  size_t size() const { return count_; }
  std::vector<T> read(cuda::Stream& stream) const {
    std::vector<T> values(count_);
    stream.copy(values.data(), data(), count_ * sizeof(T));
    stream.synchronize();
    return values;
  }
  std::vector<T> read() const {
    cuda::Stream stream;
    return read(stream);
  }

 private:
  cuda::Buffer buffer_;
  size_t count_;
};

}  // namespace tsugi::testing
