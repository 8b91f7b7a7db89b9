// Losses of rows and their sums, on CUDA: what the losses of objectives end with. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cross_entropy/cross_entropy_cuda.h"
#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// Device counterpart of tsugi::InfoNceSum.
struct DeviceRowSums {
  DeviceLossSum loss;
  int64_t nearest = 0;
};

/// Adds to *sums: the losses [rows], in double and a fixed order; the number of targets that are not -1 (null: all
/// rows); and `nearest` [rows], which may be null.
void add_row_losses(Stream& stream, const double* losses, const int32_t* targets, const int32_t* nearest, int64_t rows,
                    DeviceRowSums* sums);

}  // namespace tsugi::cuda
