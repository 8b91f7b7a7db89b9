// The orders of execution of cuda_tests and cuda_training_tests: the emulator's seeds.
#include "ops/cuda/emulated/machine.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi::testing {

int order_count() { return 8; }

void use_order(int order) { emulated::options().seed = static_cast<uint64_t>(order); }

bool on_emulator() { return true; }

int64_t host_waits() { return emulated::host_waits; }

}  // namespace tsugi::testing
