// Context: on what device, with which threads and memory an operator runs.
#pragma once

#include "ops/base/thread_pool.h"
#include "ops/tensor/device_operators.h"
#include "ops/tensor/memory.h"
#include "ops/tensor/philox.h"
#include "ops/tensor/tensor.h"

namespace tsugi {

/// A target device: the CPU, or the one behind `operators`. `meta`: shapes and lifetimes as on that device, but nothing
/// is allocated or computed.
struct Device {
  bool meta = false;
  DeviceOperators* operators = nullptr;  ///< null: the CPU

  DeviceKind kind() const { return operators == nullptr ? DeviceKind::kCpu : DeviceKind::kCuda; }
};

/// Passed to every operator. Operators check shapes and allocate first, then return early when meta().
class Context {
 public:
  Context(Device device, ThreadPool& pool, Memory& memory) : device_(device), pool_(&pool), memory_(&memory) {}

  const Device& device() const { return device_; }
  bool meta() const { return device_.meta; }
  /// Null on the CPU.
  DeviceOperators* operators() const { return device_.operators; }
  ThreadPool& pool() const { return *pool_; }
  Memory& memory() const { return *memory_; }

  /// Uninitialised memory of the device.
  Tensor empty(Shape shape, DType dtype) const {
    const size_t bytes = static_cast<size_t>(shape.elements()) * size_of(dtype);
    return Tensor(memory_->allocate(bytes), shape, dtype);
  }

 private:
  Device device_;
  ThreadPool* pool_;
  Memory* memory_;
};

/// Inverted dropout. Row r of a batch belongs to global sample `first_sample + r`; element i of the sample is dropped
/// when word i of RandomStream{seed, sample, site} is below p·2³², else scaled by 1/(1-p). p = 0 switches it off.
struct Dropout {
  float p = 0.0f;
  uint64_t seed = 0;
  uint64_t first_sample = 0;
  uint32_t site = 0;

  bool active() const { return p > 0.0f; }
  RandomStream stream(int64_t row) const { return {seed, first_sample + static_cast<uint64_t>(row), site}; }
  uint32_t threshold() const { return static_cast<uint32_t>(static_cast<double>(p) * 0x1p32); }
  float keep_scale() const { return 1.0f / (1.0f - p); }
};

}  // namespace tsugi
