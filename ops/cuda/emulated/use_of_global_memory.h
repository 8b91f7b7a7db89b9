// The host cannot touch emulated device memory.
#pragma once

namespace tsugi::emulated {

/// While one exists, device memory can be read and written; otherwise the host that touches it dies of SIGSEGV, as it
/// would with a device. Streams hold one while work runs.
class UseOfGlobalMemory {
 public:
  UseOfGlobalMemory();
  ~UseOfGlobalMemory();
  UseOfGlobalMemory(const UseOfGlobalMemory&) = delete;
};

}  // namespace tsugi::emulated
