// Losses of triplets on CUDA: from products of queries and keys to losses and slopes; triplet.h has the contract.
// Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// tsugi::Triplets without its features.
struct DeviceTriplets {
  int64_t queries = 0;
  int64_t keys = 0;
  float temperature = 1.0f;
  bool logistic = false;
  float margin = 0.0f;
  const int32_t* positives = nullptr;
  const int32_t* query_groups = nullptr;
  const int32_t* key_groups = nullptr;
};

/// Queries [first, first + rows): `scores` [rows, keys] = queries·keysᵀ becomes, with `gradient`, ∂loss/∂(q·k). losses
/// and nearest [rows] receive a value per row, facts [queries, 3] those of the rows. A block per row, in double.
void triplet_rows(Stream& stream, const DeviceTriplets& problem, int64_t first, int64_t rows, bool gradient,
                  float* scores, double* losses, int32_t* nearest, double* facts);

/// Keys [first, first + rows): `scores` [rows, queries] = keys·queriesᵀ becomes ∂loss/∂(q·k), transposed.
void triplet_columns(Stream& stream, const DeviceTriplets& problem, int64_t first, int64_t rows, const double* facts,
                     float* scores);

}  // namespace tsugi::cuda
