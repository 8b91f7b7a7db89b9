#include "ops/cuda/device_error.h"

namespace tsugi::cuda {
namespace {

enum class ErrorKind { kMemory, kHardware, kKernel, kOther };

ErrorKind kind_of(int error) {
  switch (error) {
    case kErrorMemoryAllocation:
      return ErrorKind::kMemory;
    case kErrorDevicesUnavailable:
    case kErrorEccUncorrectable:
    case kErrorNvlinkUncorrectable:
    case kErrorContained:
    case kErrorLaunchTimeout:
    case kErrorHardwareStackError:
    case kErrorSystemNotReady:
    case kErrorUnknown:
      return ErrorKind::kHardware;
    case kErrorIllegalAddress:
    case kErrorAssert:
    case kErrorIllegalInstruction:
    case kErrorMisalignedAddress:
    case kErrorInvalidAddressSpace:
    case kErrorInvalidPc:
    case kErrorLaunchFailure:
      return ErrorKind::kKernel;
    default:
      return ErrorKind::kOther;
  }
}

}  // namespace

ErrorMeaning meaning_of(int error, MemoryOf memory) {
  switch (kind_of(error)) {
    case ErrorKind::kMemory:
      if (memory == MemoryOf::kHost) {
        return {ExitCode::kUsage,
                "give the job more of the host's memory, or start fewer ranks on the host: checkpoints pass through "
                "pinned memory of 12 bytes per parameter"};
      }
      return {ExitCode::kUsage, "see what `tsugi plan` says, then lower batch.micro_batch, or set numerics.recompute"};
    case ErrorKind::kHardware:
      return {ExitCode::kPeerLost,
              "the device, its link or its driver failed, or another process holds it: try again, from the newest "
              "checkpoint; if it comes back, look at `nvidia-smi -q` and leave out the node"};
    case ErrorKind::kKernel:
      return {ExitCode::kInternal,
              "a kernel failed, perhaps earlier than at this call: CUDA_LAUNCH_BLOCKING=1 in the environment names it"};
    case ErrorKind::kOther:
      return {};
  }
  return {};
}

bool is_failure_of_device(int error) {
  return kind_of(error) == ErrorKind::kHardware || kind_of(error) == ErrorKind::kKernel;
}

}  // namespace tsugi::cuda
