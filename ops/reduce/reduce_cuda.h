// Sums with a fixed order and element-wise helpers, on CUDA. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// Bytes of scratch that column_sum needs.
size_t column_sum_scratch_bytes(int64_t rows, int64_t columns);

/// out[columns] (f32) += Σ over rows of x[rows, columns]. Rows are summed in fixed chunks, chunks in order.
void column_sum(Stream& stream, DType type, const void* x, int64_t rows, int64_t columns, float* scratch, float* out);

/// out[c] += Σ over i < count, in a fixed order, of partial[i·stride + c], c in [0, columns); and second[c], if it is
/// not null, of partial[i·stride + columns + c].
void add_partial_sums(Stream& stream, const float* partial, int64_t count, int64_t stride, int64_t columns, float* out,
                      float* second = nullptr);

/// a += b.
void add_in_place(Stream& stream, DType type, void* a, const void* b, int64_t count);

/// Converts between f32 and bf16.
void convert(Stream& stream, DType from_type, const void* from, DType to_type, void* to, int64_t count);

}  // namespace tsugi::cuda
