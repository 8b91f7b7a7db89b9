// The learnt scale of logits on CUDA; logit_scale.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// Where the scale comes from: min(first·exp(offset), limit).
struct DeviceLogitScale {
  double first = 1.0;
  double limit = 1.0;
  DType type = DType::kBF16;  ///< of *offset
  const void* offset = nullptr;
};

/// out [2·count] = sqrt(scale)·(a; b), of `count` elements each.
void scale_pair(Stream& stream, const DeviceLogitScale& scale, const float* a, const float* b, int64_t count,
                float* out);

/// d_a and d_b from d_out; *d_offset += half of the product of out and d_out [2·rows, width], in double and a fixed
/// order. `scratch` f64 [2·rows]; both may be null.
void scale_pair_backward(Stream& stream, const DeviceLogitScale& scale, const float* out, const float* d_out,
                         int64_t rows, int64_t width, float* d_a, float* d_b, double* scratch, float* d_offset);

}  // namespace tsugi::cuda
