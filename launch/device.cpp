#include "launch/device.h"

#include "ops/base/error.h"
#ifdef TSUGI_WITH_CUDA
#include "ops/cuda/operators.h"
#endif

namespace tsugi {
namespace {

/// How many devices there are; if none, `why` says why.
int count_devices(std::string& why) {
#ifdef TSUGI_WITH_CUDA
  return cuda::device_count(why);
#else
  why = "this program was built without CUDA";
  return 0;
#endif
}

std::unique_ptr<DeviceOperators> open_cuda([[maybe_unused]] int ordinal) {
#ifdef TSUGI_WITH_CUDA
  return cuda::make_operators(ordinal);
#else
  return nullptr;
#endif
}

}  // namespace

ChosenDevice choose_device(const ComputeConfig& config, const World& world) {
  if (config.device() == ComputeConfig::CPU) return {nullptr, "CPU"};
  std::string why;
  const int devices = count_devices(why);
  if (devices == 0) {
    if (config.device() == ComputeConfig::AUTO) return {nullptr, "CPU (no CUDA: " + why + ")"};
    throw Error(ExitCode::kUsage, "compute.device is CUDA, but " + why,
                "set compute.device: CPU, or AUTO to take a device only where there is one");
  }
  if (world.local_size() > devices) {
    throw Error(ExitCode::kUsage,
                "compute.device is CUDA: " + std::to_string(world.local_size()) + " ranks on " + world.host() +
                    ", which has " + std::to_string(devices) + " devices: every rank needs one of its own",
                "start as many ranks as there are devices, or set compute.device: CPU");
  }
  ChosenDevice chosen{open_cuda(world.local_rank()), {}};
  chosen.description = "device " + std::to_string(world.local_rank()) + ": " + chosen.operators->describe();
  return chosen;
}

ChosenDevice device_to_plan(const ComputeConfig& config) {
  std::string why;
  const bool automatic = config.device() == ComputeConfig::AUTO;
  if (config.device() == ComputeConfig::CPU || (automatic && count_devices(why) == 0)) return {nullptr, "CPU"};
#ifdef TSUGI_WITH_CUDA
  return {cuda::make_planning_operators(), "CUDA"};
#else
  throw Error(ExitCode::kUsage, "compute.device is CUDA, but this program was built without CUDA",
              "set compute.device: CPU or AUTO");
#endif
}

}  // namespace tsugi
