// Yes or no on CUDA; binary_cross_entropy.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// losses f64 [rows], 0 where ignored, NaN where a target is none; d_x may be null.
void binary_cross_entropy(Stream& stream, DType type, const void* x, const int32_t* targets, int64_t rows, float weight,
                          double* losses, void* d_x);

}  // namespace tsugi::cuda
