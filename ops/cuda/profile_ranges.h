// Profile ranges where profilers of devices see them.
#pragma once

namespace tsugi::cuda {

/// From now on ProfileRange (ops/base/profile_range.h) is an NVTX range; on the emulator nobody listens.
void show_profile_ranges();

}  // namespace tsugi::cuda
