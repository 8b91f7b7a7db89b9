// Contexts on CUDA: emulated, or in device_tests on a device, where there is one.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "ops/cuda/operators.h"
#include "ops/tensor/copy.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

struct CudaContext {
  std::unique_ptr<DeviceOperators> operators = cuda::make_operators(0);
  ThreadPool pool{1};
  DeviceMemory memory{*operators};
  Context context{Device{.operators = operators.get()}, pool, memory};
  CpuContext host;

  /// Rounds the values in place, as to_tensor() does.
  Tensor upload(std::vector<double>& values, Shape shape, DType type) const {
    return on_device(context, to_tensor(host, values, shape, type));
  }
  Tensor integers(const std::vector<int32_t>& values, Shape shape) const {
    const Tensor tensor = context.empty(shape, DType::kI32);
    copy_from_host(context, values.data(), tensor);
    return tensor;
  }
  std::vector<double> read(const Tensor& tensor) const { return to_doubles(on_host(context, tensor)); }
};

/// Tests that need a device skip themselves where there is none.
class OnCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (cuda::device_count(why) == 0) {
      GTEST_SKIP() << "no CUDA: " << why;
      return;
    }
    opened_ = std::make_unique<CudaContext>();
  }
  const CudaContext& cuda() const { return *opened_; }
  DeviceOperators* device() const { return opened_->operators.get(); }

 private:
  std::unique_ptr<CudaContext> opened_;
};

}  // namespace tsugi::testing
