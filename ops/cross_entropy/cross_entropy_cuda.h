// Softmax cross-entropy in place on a chunk of bf16 or f32 logits, on CUDA. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// What tsugi::CrossEntropyOptions adds to the plain loss; all 0: nothing.
struct CrossEntropyTerms {
  float soft_cap = 0.0f;
  float z_loss = 0.0f;
  float label_smoothing = 0.0f;
};

/// A row's losses, as tsugi::LossSum has them summed up.
struct DeviceRowLoss {
  float nll = 0.0f;
  float z_loss = 0.0f;
  float smoothing = 0.0f;
};

/// logits [rows, columns]. losses [rows]: 0 where ignored. With `gradient`, on return the logits are the gradient of
/// the sum of all terms, rounded to their type; exactly zero in columns >= vocabulary and in rows whose target is -1.
/// Without it they are left as they are.
/// Statistics are f32. A row of up to 163 KiB (whole vectors of 16 bytes) is kept in shared memory: it is read once and
/// written once; others are read twice, the second time from their end. (Online softmax: Milakov and Gimelshein, 2018.)
void softmax_cross_entropy(Stream& stream, DType type, const CrossEntropyTerms& terms, bool gradient, void* logits,
                           const int32_t* targets, int64_t rows, int64_t vocabulary, int64_t columns,
                           DeviceRowLoss* losses);

/// Device counterpart of tsugi::LossSum.
struct DeviceLossSum {
  double sum = 0.0;
  int64_t count = 0;
  double z_loss = 0.0;
  double smoothing = 0.0;
};

/// Adds the losses, in double and a fixed order, and the number of targets that are not -1. `row_loss` f32 [rows], if
/// not null, receives each row's nll.
void add_losses(Stream& stream, const DeviceRowLoss* losses, const int32_t* targets, int64_t rows, DeviceLossSum* sum,
                float* row_loss);

/// slot [2]: the sum, and the count as a double.
void keep_loss(Stream& stream, const DeviceLossSum* sum, double* slot);

}  // namespace tsugi::cuda
