#include "launch/device_options.h"

#include <glog/logging.h>

namespace tsugi {

ComputeConfig DeviceArguments::config() const {
  ComputeConfig::Device chosen = ComputeConfig::AUTO;
  CHECK(ComputeConfig::Device_Parse(device, &chosen)) << device;
  ComputeConfig config;
  config.set_device(chosen);
  return config;
}

std::string DeviceArguments::compute_on(const ChosenDevice& chosen) const {
  if (!compute.empty()) return compute;
  return chosen.operators == nullptr ? "FP32" : "BF16";
}

void add_device_options(Command command, DeviceArguments& arguments) {
  command.option("--device", arguments.device, "AUTO: CUDA if this program has it and there is a device, else CPU")
      .show_default()
      .one_of({"AUTO", "CPU", "CUDA"});
  command.option("--compute", arguments.compute, "FP32 or BF16 products; default: BF16 on a device, FP32 on the CPU")
      .one_of({"FP32", "BF16"});
}

}  // namespace tsugi
