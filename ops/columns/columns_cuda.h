// Ranges of a matrix's columns, on CUDA; columns.h has the contract. Pointers are to device memory, 16-byte aligned.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// Columns [first, first + width) of `rows` rows of `stride` elements.
struct ColumnRange {
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t first = 0;
  int64_t width = 0;
};

/// out [rows, width] = scale · the range of x.
void take_columns(Stream& stream, DType type, const ColumnRange& range, const void* x, float scale, void* out);

/// The range of x += scale · addend [rows, width], rounded once.
void add_to_columns(Stream& stream, DType type, const ColumnRange& range, const void* addend, float scale, void* x);

}  // namespace tsugi::cuda
