// Helpers of the kernels' tests, which are compiled once: for the emulator (on_emulator.cpp), and for a device
// (device_main.cpp).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ops/cuda/runtime.h"

namespace tsugi::testing {

/// Orders of execution that tests try: seeds of the emulator; on a device, repetitions, since what depends on the order
/// in which it executes shows sooner or later.
int order_count();
/// The order of what is launched from now on, 1 (that at start) to order_count(). A device chooses its own.
void use_order(int order);
/// Whether kernels run in the emulator, which also sees bugs that happen to do no harm.
bool on_emulator();

/// How often the host has waited for a stream; on a device nobody counts.
int64_t host_waits();

/// Runs `work` under several orders of execution.
template <class F>
void for_seeds(F&& work) {
  for (int order = 1; order <= order_count(); ++order) {
    use_order(order);
    work();
  }
  use_order(1);
}

/// What the emulator says about `work` under the first order that shows the bug; empty if none does.
template <class F>
std::string fault_of(F&& work) {
  std::string message;
  for_seeds([&] {
    if (!message.empty()) return;
    try {
      work();
    } catch (const std::runtime_error& fault) {
      message = fault.what();
    }
  });
  return message;
}

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
