#include "launch/device.h"

#include "ops/base/error.h"
#ifdef TSUGI_WITH_CUDA
#include "dist/nccl_communicator.h"
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

std::unique_ptr<DeviceOperators> open_cuda([[maybe_unused]] int ordinal,
                                           [[maybe_unused]] ComputeConfig::Attention attention) {
#ifdef TSUGI_WITH_CUDA
  using Kernel = cuda::AttentionKernel;
  return cuda::make_operators(ordinal, attention == ComputeConfig::PING_PONG ? Kernel::kPingPong
                                       : attention == ComputeConfig::WGMMA   ? Kernel::kWgmma
                                                                             : Kernel::kMma);
#else
  return nullptr;
#endif
}

/// For process `rank` of `ranks` on this host.
ChosenDevice choose_device(const ComputeConfig& config, int rank, int ranks, const std::string& host) {
  const auto on_cpu = [&](const std::string& description) -> ChosenDevice {
    if (config.attention() == ComputeConfig::MMA) return {nullptr, description, {}};
    throw Error(ExitCode::kUsage,
                "compute.attention is " + ComputeConfig::Attention_Name(config.attention()) +
                    ", a kernel of CUDA, but this run computes on the " + description,
                "leave it out, or set compute.device: CUDA");
  };
  if (config.device() == ComputeConfig::CPU) return on_cpu("CPU");
  std::string why;
  const int devices = count_devices(why);
  if (devices == 0) {
    if (config.device() == ComputeConfig::AUTO) return on_cpu("CPU (no CUDA: " + why + ")");
    throw Error(ExitCode::kUsage, "compute.device is CUDA, but " + why,
                "set compute.device: CPU, or AUTO to take a device only where there is one");
  }
  if (ranks > devices) {
    throw Error(ExitCode::kUsage,
                "compute.device is CUDA: " + std::to_string(ranks) + " ranks on " + host + ", which has " +
                    std::to_string(devices) + " devices: every rank needs one of its own",
                "start as many ranks as there are devices, or set compute.device: CPU");
  }
  ChosenDevice chosen{open_cuda(rank, config.attention()), {}, {}};
  chosen.description = "device " + std::to_string(rank) + ": " + chosen.operators->describe();
  return chosen;
}

}  // namespace

ChosenDevice choose_device(const ComputeConfig& config, const World& world) {
  return choose_device(config, world.local_rank(), world.local_size(), world.host());
}

ChosenDevice choose_device(const ComputeConfig& config) { return choose_device(config, 0, 1, "this host"); }

void connect_devices([[maybe_unused]] ChosenDevice& chosen, [[maybe_unused]] World& world,
                     [[maybe_unused]] double timeout_seconds) {
#ifdef TSUGI_WITH_CUDA
  if (world.size() == 1) return;
  // Ranks that disagree about the device must not wait for each other.
  int64_t without = chosen.operators == nullptr ? 1 : 0;
  without = all_reduce_max(world.communicator(), without);
  if (without != 0) return;
  std::string why;
  const NcclTable* const nccl = load_nccl(why);
  NcclConnection connection =
      connect_nccl(nccl, why, world.communicator(), cuda::stream_of(*chosen.operators), timeout_seconds);
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

ChosenDevice device_to_plan(const ComputeConfig& config) {
  std::string why;
  const bool automatic = config.device() == ComputeConfig::AUTO;
  if (config.device() == ComputeConfig::CPU || (automatic && count_devices(why) == 0)) return {nullptr, "CPU", {}};
#ifdef TSUGI_WITH_CUDA
  return {cuda::make_planning_operators(), "CUDA", {}};
#else
  throw Error(ExitCode::kUsage, "compute.device is CUDA, but this program was built without CUDA",
              "set compute.device: CPU or AUTO");
#endif
}

}  // namespace tsugi
