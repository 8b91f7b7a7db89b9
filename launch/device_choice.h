// Whether a rank computes on a device or on the CPU, from what it finds on its host. Knows no device itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/config/run.pb.h"
#include "dist/communicator.h"
#include "ops/base/error.h"

namespace tsugi {

/// What a rank finds on its host.
struct HostDevices {
  int devices = 0;
  std::string why_none = {};          ///< if there are none
  std::optional<Error> problem = {};  ///< what is wrong with the rank's own: too old, no library of products
};

/// The device of process `rank` of a host with `devices` of them; devices >= 1. Beyond them only where they are shared.
int device_of(const ComputeConfig& config, int rank, int devices);

/// Why one of `ranks` ranks on `host` computes on the CPU; empty: it takes its device. AUTO takes the CPU for whatever
/// reason there is; CUDA takes none, and throws it as Error(kUsage). The CPU itself needs no reason.
std::string why_on_cpu(const ComputeConfig& config, const HostDevices& found, int ranks, const std::string& host);

/// The same on all ranks: where one has a reason, all compute on the CPU, and the others name its rank. Collective.
std::string agree_on_cpu(Communicator& communicator, const std::string& why);

/// The names of the `count` devices that this process sees, each as CUDA_VISIBLE_DEVICES has it: `inherited` is what
/// that variable is; null: all devices of the host.
std::vector<std::string> names_of_devices(const char* inherited, int count);

}  // namespace tsugi
