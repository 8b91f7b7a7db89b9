// The options of commands that compute on a device where there is one.
#pragma once

#include <string>

#include "core/config/run.pb.h"
#include "launch/command_line.h"
#include "launch/device.h"

namespace tsugi {

/// As on the command line.
struct DeviceArguments {
  std::string device = "AUTO";
  std::string compute;  ///< empty: what suits the device

  ComputeConfig config() const;
  /// FP32 or BF16.
  std::string compute_on(const ChosenDevice& chosen) const;
};

/// Adds --device and --compute.
void add_device_options(Command command, DeviceArguments& arguments);

}  // namespace tsugi
