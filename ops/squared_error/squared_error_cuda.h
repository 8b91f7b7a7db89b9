// Squared errors of rows on CUDA; squared_error.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

struct SquaredErrorShape {
  DType type = DType::kBF16;  ///< of x
  int64_t rows = 0;
  int64_t width = 0;
  int64_t target_rows = 0;
  bool normalize = false;
  double variance = 0.0;  ///< added to that of a row that is normalised
};

/// errors f64 [rows], 0 where ignored, NaN where an index is out of range. d_x may be null. A warp per row: every lane
/// sums its columns in double, then a tree over the lanes.
void squared_error(Stream& stream, const SquaredErrorShape& shape, const void* x, const float* targets,
                   const int32_t* indices, double* errors, void* d_x);

}  // namespace tsugi::cuda
