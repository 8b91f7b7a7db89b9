// Which device a command computes on.
#pragma once

#include <memory>
#include <string>

#include "core/config/run.pb.h"
#include "dist/world.h"
#include "ops/tensor/context.h"

namespace tsugi {

struct ChosenDevice {
  std::unique_ptr<DeviceOperators> operators;  ///< null: the CPU
  std::string description;                     ///< for the log: "NVIDIA H200 …", "CPU (no CUDA: …)"

  Device device() const { return {.operators = operators.get()}; }
};

/// As compute.device says: CUDA takes the device of this rank's place on its host. Throws Error(kUsage) where CUDA is
/// asked for and this program was built without it, or there is no driver, or fewer devices than ranks.
ChosenDevice choose_device(const ComputeConfig& config, const World& world);

/// What a plan counts for: where CUDA is asked for there need not be a device here, but the program must have it.
ChosenDevice device_to_plan(const ComputeConfig& config);

}  // namespace tsugi
