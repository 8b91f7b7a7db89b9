// GELU in its tanh form, on CUDA. Pointers are to device memory, 16-byte aligned.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// out = GELU(pre), element by element; out may be pre.
void gelu_forward(Stream& stream, DType type, const void* pre, void* out, int64_t count);

/// d_pre = d_out · GELU'(pre); d_pre may be d_out.
void gelu_backward(Stream& stream, DType type, const void* pre, const void* d_out, void* d_pre, int64_t count);

}  // namespace tsugi::cuda
