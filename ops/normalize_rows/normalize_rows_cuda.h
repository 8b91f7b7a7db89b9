// Rows of length 1 on CUDA; normalize_rows.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// A warp per row: every lane sums its columns in double, then a tree over the lanes. A row shorter than `shortest` is
/// divided by that.
void normalize_rows(Stream& stream, DType type, const void* x, int64_t rows, int64_t width, double shortest, float* out,
                    double* scales);

/// d_x is of `type`.
void normalize_rows_backward(Stream& stream, DType type, const float* out, const double* scales, const float* d_out,
                             int64_t rows, int64_t width, double shortest, void* d_x);

}  // namespace tsugi::cuda
