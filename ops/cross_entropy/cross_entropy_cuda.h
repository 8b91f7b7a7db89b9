// Softmax cross-entropy in place on a chunk of bf16 or f32 logits, on CUDA. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// logits [rows, columns]: on return the gradient of Σ losses, softmax - onehot(target), rounded to the type of the
/// logits; exactly zero in columns >= vocabulary and in rows whose target is -1. losses f32 [rows]; 0 where ignored.
/// Statistics are f32. A row is read twice, the second time from the L2 cache, and written once. (Online softmax:
/// Milakov and Gimelshein, 2018.)
void softmax_cross_entropy(Stream& stream, DType type, void* logits, const int32_t* targets, int64_t rows,
                           int64_t vocabulary, int64_t columns, float* losses);

/// Device counterpart of tsugi::LossSum.
struct DeviceLossSum {
  double sum = 0.0;
  int64_t count = 0;
};

/// Adds the losses, in double and a fixed order, and the number of targets that are not -1.
void add_losses(Stream& stream, const float* losses, const int32_t* targets, int64_t rows, DeviceLossSum* sum);

}  // namespace tsugi::cuda
