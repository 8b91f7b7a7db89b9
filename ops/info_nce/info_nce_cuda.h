// InfoNCE on CUDA: from products of queries and keys to losses and slopes; info_nce.h has the contract. Pointers are to
// device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// tsugi::InfoNce without its features. The last three are null where a query has one positive.
struct DeviceInfoNce {
  int64_t queries = 0;
  int64_t keys = 0;
  float temperature = 1.0f;
  const int32_t* positives = nullptr;
  const int32_t* query_groups = nullptr;
  const int32_t* key_groups = nullptr;
  const int32_t* query_classes = nullptr;
  const int32_t* key_classes = nullptr;
  const int32_t* positive_counts = nullptr;
};

/// Queries [first, first + rows): `scores` [rows, keys] = queries·keysᵀ; overwritten, with `gradient` by ∂loss/∂(q·k).
/// losses and nearest [rows] receive a value per row, log_sums [queries] those of the rows. A block per row; sums are
/// in double.
void info_nce_rows(Stream& stream, const DeviceInfoNce& problem, int64_t first, int64_t rows, bool gradient,
                   float* scores, double* losses, int32_t* nearest, double* log_sums);

/// Keys [first, first + rows): `scores` [rows, queries] = keys·queriesᵀ becomes ∂loss/∂(q·k), transposed.
void info_nce_columns(Stream& stream, const DeviceInfoNce& problem, int64_t first, int64_t rows, const double* log_sums,
                      float* scores);

}  // namespace tsugi::cuda
