// Shared memory of a block: some devices have less than kernels want.
#pragma once

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "ops/base/error.h"

namespace tsugi::cuda {

/// Throws Error(kUsage) where a block of a kernel wants more bytes than a device has for one; `mangled` names the
/// kernel or its type.
inline void check_shared_bytes(const char* mangled, size_t wanted, size_t available) {
  if (wanted <= available) return;
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> name(abi::__cxa_demangle(mangled, nullptr, nullptr, &status), std::free);
  throw Error(ExitCode::kUsage,
              std::string("CUDA: a block of ") + (name != nullptr ? name.get() : mangled) + " needs " +
                  std::to_string(wanted) + " bytes of shared memory, the device has " + std::to_string(available),
              "use a device with more (compute capability 8.0 has 166912, 9.0 has 232448), or compute.device: CPU");
}

}  // namespace tsugi::cuda
