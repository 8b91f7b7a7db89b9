// What an error of the CUDA runtime means for the program: host code that knows no toolkit.
#pragma once

#include <string>

#include "ops/base/error.h"

namespace tsugi::cuda {

/// Numbers of cudaError_t (driver_types.h; native/runtime.cu compares them).
enum DeviceError : int {
  kErrorMemoryAllocation = 2,
  kErrorDevicesUnavailable = 46,
  kErrorEccUncorrectable = 214,
  kErrorNvlinkUncorrectable = 220,
  kErrorContained = 226,
  kErrorIllegalAddress = 700,
  kErrorLaunchTimeout = 702,
  kErrorAssert = 710,
  kErrorHardwareStackError = 714,
  kErrorIllegalInstruction = 715,
  kErrorMisalignedAddress = 716,
  kErrorInvalidAddressSpace = 717,
  kErrorInvalidPc = 718,
  kErrorLaunchFailure = 719,
  kErrorSystemNotReady = 802,
  kErrorUnknown = 999,
};

/// Whose memory a call asks for.
enum class MemoryOf { kDevice, kHost };

/// What the program makes of it. Memory: kUsage. What another try or another node may not meet again (hardware, a
/// device that others hold): kPeerLost, which launch/slurm/pretrain.sbatch tries again. All else is a bug here:
/// kInternal; the hint says how to find the kernel where the error came with one, after its launch.
struct ErrorMeaning {
  ExitCode code = ExitCode::kInternal;
  std::string hint;
};
ErrorMeaning meaning_of(int error, MemoryOf memory = MemoryOf::kDevice);

/// Whether the device, or a kernel on it, has failed: then every later call fails, of other libraries too.
bool is_failure_of_device(int error);

/// Throws Error(kUsage) when kernels were not compiled for the architecture of device `ordinal`. Does not open it.
void require_usable(int ordinal);

}  // namespace tsugi::cuda
