// Which errors of the CUDA runtime are tried again, and what is said of them.
#include "ops/cuda/device_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tsugi::cuda {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(DeviceError, MemoryIsForTheUserToMend) {
  EXPECT_EQ(meaning_of(2).code, ExitCode::kUsage);
  EXPECT_THAT(meaning_of(2).hint, HasSubstr("micro_batch"));
  EXPECT_EQ(meaning_of(2, MemoryOf::kHost).code, ExitCode::kUsage);
  EXPECT_THAT(meaning_of(2, MemoryOf::kHost).hint, HasSubstr("host's memory"));
  EXPECT_FALSE(is_failure_of_device(2));
}

TEST(DeviceError, WhatHardwareDoesIsTriedAgain) {
  for (const int error : {46, 214, 220, 226, 702, 714, 802, 999}) {
    EXPECT_EQ(meaning_of(error).code, ExitCode::kPeerLost) << error;
    EXPECT_THAT(meaning_of(error).hint, HasSubstr("try again")) << error;
    EXPECT_TRUE(is_failure_of_device(error)) << error;
  }
}

TEST(DeviceError, KernelsThatFailAreBugsWithAWayToFindThem) {
  for (const int error : {700, 710, 715, 716, 717, 718, 719}) {
    EXPECT_EQ(meaning_of(error).code, ExitCode::kInternal) << error;
    EXPECT_THAT(meaning_of(error).hint, HasSubstr("CUDA_LAUNCH_BLOCKING=1")) << error;
    EXPECT_TRUE(is_failure_of_device(error)) << error;
  }
}

TEST(DeviceError, AllElseIsABug) {
  for (const int error : {1, 400, 701, 900}) {  // invalid value, invalid handle, too many resources, capture
    EXPECT_EQ(meaning_of(error).code, ExitCode::kInternal) << error;
    EXPECT_THAT(meaning_of(error).hint, IsEmpty()) << error;
    EXPECT_FALSE(is_failure_of_device(error)) << error;
  }
}

}  // namespace
}  // namespace tsugi::cuda
