// T5's numbers by distance on CUDA; relative_bias.h has the contract. Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cuda {

inline constexpr int kMostRelativeBuckets = 128;

/// RelativeBuckets for a kernel: the least distance of each bucket of one side.
struct DeviceBuckets {
  int count = 0;      ///< of all; of one side half as many, if both have some
  int half = 0;       ///< of one side
  bool both = false;  ///< keys behind the query have the second half
  int starts[kMostRelativeBuckets] = {};
};

/// bias f32 [heads, columns] from table [buckets, heads]; column c is distance c - (key_tokens - 1).
void relative_bias_forward(Stream& stream, const DeviceBuckets& buckets, DType type, const void* table, int64_t heads,
                           int64_t columns, int64_t key_tokens, float* bias);

/// d_table f32 [buckets, heads] += d_bias, the lowest distance first.
void relative_bias_backward(Stream& stream, const DeviceBuckets& buckets, const float* d_bias, int64_t heads,
                            int64_t columns, int64_t key_tokens, float* d_table);

}  // namespace tsugi::cuda
