// Dropout by itself, on CUDA; dropout.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/dropout_key.h"
#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// x and out [rows, width]; out may be x.
void apply_dropout(Stream& stream, DType type, const DropoutKey& dropout, const void* x, void* out, int64_t rows,
                   int64_t width);

}  // namespace tsugi::cuda
