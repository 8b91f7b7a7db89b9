#include "launch/device.h"

#include <cstdlib>

#include "launch/device_choice.h"
#include "launch/run_world.h"
#include "ops/base/error.h"
#ifdef TSUGI_WITH_CUDA
#include "dist/nccl_communicator.h"
#include "ops/cuda/operators.h"
#endif

namespace tsugi {
namespace {

/// What process `rank` of its host finds there.
HostDevices find_devices([[maybe_unused]] const ComputeConfig& config, [[maybe_unused]] int rank) {
#ifdef TSUGI_WITH_CUDA
  HostDevices found;
  found.devices = cuda::device_count(found.why_none);
  if (found.devices == 0) return found;
  const int device = device_of(config, rank, found.devices);
  if (device < found.devices) found.problem = cuda::device_problem(device);
  return found;
#else
  return {.why_none = "this program was built without CUDA"};
#endif
}

#ifdef TSUGI_WITH_CUDA
cuda::AttentionKernel kernel_of(ComputeConfig::Attention attention) {
  using Kernel = cuda::AttentionKernel;
  return attention == ComputeConfig::PING_PONG ? Kernel::kPingPong
         : attention == ComputeConfig::WGMMA   ? Kernel::kWgmma
                                               : Kernel::kMma;
}
#endif

std::unique_ptr<DeviceOperators> open_cuda([[maybe_unused]] int ordinal,
                                           [[maybe_unused]] ComputeConfig::Attention attention) {
#ifdef TSUGI_WITH_CUDA
  return cuda::make_operators(ordinal, kernel_of(attention));
#else
  return nullptr;
#endif
}

ChosenDevice open_cpu(const ComputeConfig& config, const std::string& description) {
  if (config.attention() == ComputeConfig::MMA) return {nullptr, description, {}};
  throw Error(ExitCode::kUsage,
              "compute.attention is " + ComputeConfig::Attention_Name(config.attention()) +
                  ", a kernel of CUDA, but this run computes on the " + description,
              "leave it out, or set compute.device: CUDA");
}

/// For process `rank` of its host. `why`: the CPU, unless it is empty.
ChosenDevice open_device(const ComputeConfig& config, int rank, const std::string& why) {
  if (config.device() == ComputeConfig::CPU || !why.empty()) {
    return open_cpu(config, why.empty() ? "CPU" : "CPU (no CUDA: " + why + ")");
  }
  const int device = device_of(config, rank, find_devices(config, rank).devices);
  ChosenDevice chosen{open_cuda(device, config.attention()), {}, {}};
  chosen.description = "device " + std::to_string(device) + ": " + chosen.operators->describe();
  return chosen;
}

/// What speaks against device `rank` of this host for one of its `ranks` processes.
std::string why_not_device(const ComputeConfig& config, int rank, int ranks, const std::string& host) {
  if (config.device() == ComputeConfig::CPU) return {};
  return why_on_cpu(config, find_devices(config, rank), ranks, host);
}

}  // namespace

ChosenDevice choose_device(const ComputeConfig& config, World& world) {
  const int rank = world.local_rank();
  std::string why;
  on_all_ranks(world.communicator(), [&] { why = why_not_device(config, rank, world.local_size(), world.host()); });
  why = agree_on_cpu(world.communicator(), why);
  ChosenDevice chosen;
  on_all_ranks(world.communicator(), [&] { chosen = open_device(config, rank, why); });
  return chosen;
}

ChosenDevice choose_device(const ComputeConfig& config) {
  return open_device(config, 0, why_not_device(config, 0, 1, "this host"));
}

void connect_devices([[maybe_unused]] ChosenDevice& chosen, [[maybe_unused]] const ComputeConfig& config,
                     [[maybe_unused]] World& world, [[maybe_unused]] double timeout_seconds) {
#ifdef TSUGI_WITH_CUDA
  if (world.size() == 1) return;
  // Configurations are compared later: ranks that disagree about the device must not wait for each other.
  int64_t without = chosen.operators == nullptr || config.share_devices() ? 1 : 0;
  without = all_reduce_max(world.communicator(), without);
  if (without != 0) {
    if (chosen.operators != nullptr) chosen.description += "; ranks exchange by way of the host";
    return;
  }
  std::string why;
  const NcclTable* const nccl = load_nccl(why);
  NcclConnection connection = connect_nccl(nccl, why, world.communicator(), cuda::stream_of(*chosen.operators),
                                           timeout_seconds, [&world](const Error& error) {
                                             print_error(error, world.rank());
                                             world.abort(static_cast<int>(error.code()));
                                           });
  chosen.communicator = std::move(connection.communicator);
  chosen.description += "; " + connection.description;
#endif
}

std::unique_ptr<WorkRecorder> make_recorder(const ChosenDevice& chosen) {
#ifdef TSUGI_WITH_CUDA
  if (chosen.operators != nullptr) return cuda::make_recorder(*chosen.operators);
#endif
  throw Error(ExitCode::kUsage,
              "--graphs records kernels of a device, but this run computes on the " + chosen.description,
              "leave out --graphs");
}

std::vector<std::string> devices_of_host(const ComputeConfig& config) {
  if (config.device() == ComputeConfig::CPU) return {};
  const HostDevices found = find_devices(config, 0);
  if (found.devices == 0 || found.problem) return {};
  return names_of_devices(std::getenv("CUDA_VISIBLE_DEVICES"), found.devices);
}

ChosenDevice device_to_plan(const ComputeConfig& config) {
  const bool automatic = config.device() == ComputeConfig::AUTO;
  if (config.device() == ComputeConfig::CPU || (automatic && !why_not_device(config, 0, 1, "this host").empty())) {
    return open_cpu(config, "CPU");
  }
#ifdef TSUGI_WITH_CUDA
  return {cuda::make_planning_operators(kernel_of(config.attention())), "CUDA", {}};
#else
  throw Error(ExitCode::kUsage, "compute.device is CUDA, but this program was built without CUDA",
              "set compute.device: CPU or AUTO");
#endif
}

}  // namespace tsugi
