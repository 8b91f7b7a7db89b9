// AUTO takes the CPU for whatever speaks against a device, on all ranks; CUDA refuses.
#include "launch/device_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Error kNoLibrary(ExitCode::kUsage, "CUDA: cuBLASLt could not be loaded: no such file", "install it");

ComputeConfig asking(ComputeConfig::Device device, bool shared = false) {
  ComputeConfig config;
  config.set_device(device);
  config.set_share_devices(shared);
  return config;
}

std::string on_auto(const HostDevices& found, int ranks) {
  return why_on_cpu(asking(ComputeConfig::AUTO), found, ranks, "node7");
}

Error on_cuda(const HostDevices& found, int ranks) {
  try {
    why_on_cpu(asking(ComputeConfig::CUDA), found, ranks, "node7");
  } catch (const Error& error) {
    return error;
  }
  return {ExitCode::kDone, "no error"};
}

TEST(DeviceChoice, DevicesThatCanBeUsedAreTaken) {
  EXPECT_EQ(on_auto({.devices = 2}, 2), "");
  EXPECT_EQ(on_auto({.devices = 2}, 1), "");
  EXPECT_STREQ(on_cuda({.devices = 2}, 2).what(), "no error");
  EXPECT_EQ(why_on_cpu(asking(ComputeConfig::CPU), {.devices = 2}, 1, "node7"), "");
}

TEST(DeviceChoice, AutoSaysWhyItTakesTheCpuAndCudaRefuses) {
  const HostDevices none{.why_none = "there is no driver"};
  EXPECT_EQ(on_auto(none, 1), "there is no driver");
  EXPECT_EQ(on_cuda(none, 1).code(), ExitCode::kUsage);
  EXPECT_THAT(on_cuda(none, 1).what(), HasSubstr("there is no driver"));

  const HostDevices few{.devices = 2};
  EXPECT_EQ(on_auto(few, 3), "3 ranks on node7, which has 2 devices");
  EXPECT_EQ(on_cuda(few, 3).code(), ExitCode::kUsage);
  EXPECT_THAT(on_cuda(few, 3).what(), HasSubstr("every rank needs one of its own"));

  const HostDevices broken{.devices = 1, .why_none = {}, .problem = kNoLibrary};
  EXPECT_THAT(on_auto(broken, 1), HasSubstr("cuBLASLt could not be loaded"));
  EXPECT_STREQ(on_cuda(broken, 1).what(), kNoLibrary.what());
  EXPECT_EQ(on_cuda(broken, 1).hint(), "install it");
}

TEST(DeviceChoice, RanksShareDevicesOnRequest) {
  const HostDevices few{.devices = 2};
  for (const auto device : {ComputeConfig::AUTO, ComputeConfig::CUDA}) {
    EXPECT_EQ(why_on_cpu(asking(device, true), few, 5, "node7"), "");
    const std::vector<int> taken{device_of(asking(device, true), 0, 2), device_of(asking(device, true), 1, 2),
                                 device_of(asking(device, true), 2, 2), device_of(asking(device, true), 4, 2)};
    EXPECT_THAT(taken, ElementsAre(0, 1, 0, 0));
    EXPECT_EQ(device_of(asking(device), 3, 2), 3);
  }
  EXPECT_EQ(why_on_cpu(asking(ComputeConfig::AUTO, true), {.why_none = "there is no driver"}, 2, "node7"),
            "there is no driver");
}

TEST(DeviceChoice, AReasonOfOneRankIsThatOfAll) {
  testing::run_ranks(3, [](Communicator& communicator) {
    EXPECT_EQ(agree_on_cpu(communicator, ""), "");
    const std::string why = agree_on_cpu(communicator, communicator.rank() == 1 ? "too old" : "");
    EXPECT_EQ(why, communicator.rank() == 1 ? "too old" : "rank 1: too old");
  });
}

TEST(DeviceChoice, DevicesAreNamedAsTheProcessSeesThem) {
  EXPECT_THAT(names_of_devices(nullptr, 3), ElementsAre("0", "1", "2"));
  EXPECT_THAT(names_of_devices("3,GPU-1f,0", 3), ElementsAre("3", "GPU-1f", "0"));
  EXPECT_THAT(names_of_devices("2,9,0", 1), ElementsAre("2")) << "there is no device 9";
  EXPECT_THAT(names_of_devices("", 0), ElementsAre());
}

}  // namespace
}  // namespace tsugi
