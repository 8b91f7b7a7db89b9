// Bounds between wholes and parts on CUDA: from their products to losses and slopes; part_bounds.h has the contract.
// Pointers are to device memory.
#pragma once

#include <cstdint>

#include "ops/cuda/runtime.h"

namespace tsugi::cuda {

/// tsugi::PartScores without its features.
struct DeviceParts {
  int64_t wholes = 0;
  int64_t parts = 0;
  const int32_t* whole_ids = nullptr;
  const int32_t* part_ids = nullptr;
  int64_t parts_of_each = 1;
  bool info_nce = false;
  float scale = 1.0f;
  float clip = 0.0f;
  float penalty = 0.0f;
  float weight = 1.0f;
};

/// Wholes [first, first + rows): `scores` [rows, parts] = wholes·partsᵀ becomes, with `gradient`, ∂loss/∂(w·p). losses
/// and nearest [rows] receive a value per row, facts [wholes, 2] those of the rows. A block per row; sums are in
/// double.
void part_rows(Stream& stream, const DeviceParts& problem, int64_t first, int64_t rows, bool gradient, float* scores,
               double* losses, int32_t* nearest, double* facts);

/// Parts [first, first + rows): `scores` [rows, wholes] = parts·wholesᵀ becomes ∂loss/∂(w·p), transposed.
void part_columns(Stream& stream, const DeviceParts& problem, int64_t first, int64_t rows, const double* facts,
                  float* scores);

}  // namespace tsugi::cuda
