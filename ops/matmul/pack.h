// Copies of operand panels: tight and f32, as the kernels like them.
#pragma once

#include <cstdint>
#include <cstring>

#include "ops/matmul/lanes.h"
#include "ops/tensor/convert_row.h"

namespace tsugi {

/// to[rows, columns] = from[rows, columns], whose rows are `ld` apart.
template <class T>
void widen_rows(const T* from, int64_t ld, int64_t rows, int64_t columns, float* to) {
  for (int64_t i = 0; i < rows; ++i) widen(from + i * ld, to + i * columns, columns);
}

/// to[columns, rows] = the transpose of from[rows, columns]; rows of the one are `ld` apart, of the other `to_ld`.
template <class T>
void widen_transposed(const T* from, int64_t ld, int64_t rows, int64_t columns, float* to, int64_t to_ld) {
  constexpr int64_t kRows = 2 * kLanes;  // they fill a cache line of the result
  const int64_t whole_rows = rows / kRows * kRows;
  const int64_t whole_columns = columns / kLanes * kLanes;
  for (int64_t i = 0; i < whole_rows; i += kRows) {
    for (int64_t j = 0; j < whole_columns; j += kLanes) {
      for (int64_t half = i; half < i + kRows; half += kLanes) {
        Lanes block[kLanes];
        for (int r = 0; r < kLanes; ++r) load(from + (half + r) * ld + j, block[r]);
        transpose(block);
        for (int c = 0; c < kLanes; ++c) std::memcpy(to + (j + c) * to_ld + half, &block[c], sizeof(Lanes));
      }
    }
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) {
      to[j * to_ld + i] = static_cast<float>(from[i * ld + j]);
    }
  }
}

}  // namespace tsugi
