// main() of device_tests, and its orders of execution: without a device every test is skipped, by name.
#include <gtest/gtest.h>

#include <iostream>
#include <string>

#include "ops/cuda/runtime.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi::testing {

int order_count() { return 100; }

void use_order(int) {}

bool on_emulator() { return false; }

int64_t host_waits() { return 0; }

}  // namespace tsugi::testing

namespace {

class NeedsDevice : public ::testing::Environment {
 public:
  void SetUp() override {
    std::string why;
    if (tsugi::cuda::device_count(why) == 0) GTEST_SKIP() << "no CUDA: " << why;
    tsugi::cuda::use_device(0);
    std::cout << "on " << tsugi::cuda::describe_device() << "\n";
  }
};

}  // namespace

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  ::testing::AddGlobalTestEnvironment(new NeedsDevice);  // gtest owns it
  return RUN_ALL_TESTS();
}
