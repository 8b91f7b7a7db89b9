#include "launch/device_choice.h"

#include <sstream>
#include <utility>

namespace tsugi {

int device_of(const ComputeConfig& config, int rank, int devices) {
  return config.share_devices() ? rank % devices : rank;
}

std::string why_on_cpu(const ComputeConfig& config, const HostDevices& found, int ranks, const std::string& host) {
  if (config.device() == ComputeConfig::CPU) return {};
  const bool automatic = config.device() == ComputeConfig::AUTO;
  if (found.devices == 0) {
    if (automatic) return found.why_none;
    throw Error(ExitCode::kUsage, "compute.device is CUDA, but " + found.why_none,
                "set compute.device: CPU, or AUTO to take a device only where there is one");
  }
  if (ranks > found.devices && !config.share_devices()) {
    const std::string counted = std::to_string(ranks) + " ranks on " + host + ", which has " +
                                std::to_string(found.devices) + (found.devices == 1 ? " device" : " devices");
    if (automatic) return counted;
    throw Error(ExitCode::kUsage, "compute.device is CUDA: " + counted + ": every rank needs one of its own",
                "start as many ranks as there are devices, let them share (compute.share_devices: true), or set "
                "compute.device: CPU");
  }
  if (!found.problem) return {};
  if (automatic) return found.problem->what();
  throw *found.problem;
}

std::string agree_on_cpu(Communicator& communicator, const std::string& why) {
  const std::vector<std::string> all = communicator.all_gather_strings(why);
  if (!why.empty()) return why;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].empty()) return "rank " + std::to_string(rank) + ": " + all[rank];
  }
  return {};
}

std::vector<std::string> names_of_devices(const char* inherited, int count) {
  std::vector<std::string> names;
  if (inherited == nullptr) {
    for (int i = 0; i < count; ++i) names.push_back(std::to_string(i));
    return names;
  }
  // CUDA takes them in this order, up to the first that it does not know.
  std::istringstream list(inherited);
  for (std::string name; std::cmp_less(names.size(), count) && std::getline(list, name, ',');) names.push_back(name);
  return names;
}

}  // namespace tsugi
