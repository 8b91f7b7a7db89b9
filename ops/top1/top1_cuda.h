// Top-1 accuracy on CUDA; top1.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// scores [rows, columns], targets and right [rows]. A block per row.
void top1(Stream& stream, const float* scores, const int32_t* targets, int64_t rows, int64_t columns, int64_t classes,
          int32_t* right);

}  // namespace tsugi::cuda
