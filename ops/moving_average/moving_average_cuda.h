// Moving averages of weights on CUDA; moving_average.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// Each element rounded once from double, as on the CPU.
void moving_average(Stream& stream, double momentum, const float* value, float* average, int64_t count);

}  // namespace tsugi::cuda
