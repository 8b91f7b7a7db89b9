// Copies of operand panels: tight and f32, as the kernels like them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/tensor/convert_row.h"

namespace tsugi {

/// to[rows, columns] = from[rows, columns], whose rows are `ld` apart.
template <class T>
void widen_rows(const T* from, int64_t ld, int64_t rows, int64_t columns, float* to) {
  for (int64_t i = 0; i < rows; ++i) widen(from + i * ld, to + i * columns, columns);
}

/// to[columns, rows] = the transpose of from[rows, columns], whose rows are `ld` apart.
template <class T>
void widen_transposed(const T* from, int64_t ld, int64_t rows, int64_t columns, float* to) {
  // 16 rows fill a cache line of the result; 8 columns are half a line of f32 and what AVX2 transposes in registers.
  constexpr int64_t kRows = 16;
  constexpr int64_t kColumns = 8;
  for (int64_t i = 0; i < rows; i += kRows) {
    for (int64_t j = 0; j < columns; j += kColumns) {
      if (i + kRows <= rows && j + kColumns <= columns) {
        float block[kRows][kColumns];
        for (int64_t r = 0; r < kRows; ++r) widen(from + (i + r) * ld + j, block[r], kColumns);
        for (int64_t c = 0; c < kColumns; ++c) {
          for (int64_t r = 0; r < kRows; ++r) to[(j + c) * rows + i + r] = block[r][c];
        }
      } else {
        for (int64_t c = j; c < std::min(j + kColumns, columns); ++c) {
          for (int64_t r = i; r < std::min(i + kRows, rows); ++r)
            to[c * rows + r] = static_cast<float>(from[r * ld + c]);
        }
      }
    }
  }
}

}  // namespace tsugi
