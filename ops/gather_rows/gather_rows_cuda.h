// Rows by index, on CUDA; gather_rows.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

/// out [count, width]. The caller has checked the indices.
void gather_rows(Stream& stream, DType type, const void* x, const int32_t* indices, int64_t count, int64_t width,
                 void* out);

/// d_x[indices[n]] += d_out[n], d_x being zero where an index points. Rows that an index names several times are
/// summed in f32, in the order of n, and rounded once.
void gather_rows_backward(Stream& stream, DType type, const int32_t* indices, const void* d_out, int64_t count,
                          int64_t width, void* d_x);

/// x[indices[n]] = rows[n]: indices that differ from each other.
void put_rows(Stream& stream, DType type, const void* rows, const int32_t* indices, int64_t count, int64_t width,
              void* x);

}  // namespace tsugi::cuda
