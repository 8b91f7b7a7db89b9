// Which device a command computes on.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "dist/world.h"
#include "ops/tensor/context.h"
#include "ops/tensor/work_recorder.h"

namespace tsugi {

struct ChosenDevice {
  std::unique_ptr<DeviceOperators> operators;  ///< null: the CPU
  std::string description;                     ///< for the log: "NVIDIA H200 …", "CPU (no CUDA: …)"
  std::unique_ptr<Communicator> communicator;  ///< of the device's memory; null: there is no other than the host's

  Device device() const { return {.operators = operators.get()}; }
};

/// As compute.device says: CUDA takes the device of this rank's place on its host. AUTO does so where every rank has
/// one that can be used, else all compute on the CPU, and the description says why. Throws Error(kUsage) where CUDA is
/// asked for and this program was built without it, or there is no driver, no cuBLASLt, no device that is new enough,
/// or fewer devices than ranks and compute.share_devices is not set. Collective; an error of one rank is thrown by all.
ChosenDevice choose_device(const ComputeConfig& config, World& world);

/// The same for a process that is on its own, which takes the first device.
ChosenDevice choose_device(const ComputeConfig& config);

/// Joins the devices of all ranks over NCCL where all have it and compute.share_devices does not keep them from it, and
/// says so in the description. Collective; throws what connect_nccl() (dist/nccl_communicator.h) throws.
void connect_devices(ChosenDevice& chosen, const ComputeConfig& config, World& world, double timeout_seconds);

/// Records work of the device; throws Error(kUsage) where it is the CPU.
std::unique_ptr<WorkRecorder> make_recorder(const ChosenDevice& chosen);

/// The devices that processes of this host, which are on their own, can be given one each of, as CUDA_VISIBLE_DEVICES
/// has them; none where they would compute on the CPU, or say why they cannot.
std::vector<std::string> devices_of_host(const ComputeConfig& config);

/// What a plan counts for: where CUDA is asked for there need not be a device here, but the program must have it.
ChosenDevice device_to_plan(const ComputeConfig& config);

}  // namespace tsugi
