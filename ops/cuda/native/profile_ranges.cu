// Ranges go to Nsight through NVTX, which is header-only: it looks for a profiler at the first call, and without one
// every later call returns at once.
#include <nvtx3/nvToolsExt.h>

#include "ops/base/profile_range.h"
#include "ops/cuda/profile_ranges.h"

namespace tsugi::cuda {

void show_profile_ranges() {
  profile_listener() = {[](const char* name) { nvtxRangePushA(name); }, [] { nvtxRangePop(); }};
}

}  // namespace tsugi::cuda
