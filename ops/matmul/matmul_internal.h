// The CPU path of matmul(): what its parts hand to each other.
#pragma once

#include <algorithm>
#include <cstdint>

#include "ops/base/thread_pool.h"
#include "ops/matmul/tiling.h"
#include "ops/tensor/dtype.h"

namespace tsugi::cpu {

/// A checked product of T (f32 or bf16).
template <class T>
struct Product {
  int64_t m = 0, n = 0, k = 0;
  const T* a = nullptr;
  const T* b = nullptr;
  bool transpose_a = false;
  bool transpose_b = false;

  int64_t lda() const { return transpose_a ? m : k; }
  int64_t ldb() const { return transpose_b ? k : n; }
  /// Where op(a)[row, column] is stored.
  const T* a_at(int64_t row, int64_t column) const {
    return a + (transpose_a ? column * lda() + row : row * lda() + column);
  }
  const T* b_at(int64_t row, int64_t column) const {
    return b + (transpose_b ? column * ldb() + row : row * ldb() + column);
  }
};

/// Finished sums (row distance `ld`) of the tile of the output whose first element is [row, column].
struct Sums {
  const float* data;
  int64_t ld;
  int64_t row, column;
  int64_t rows, columns;
};

/// What becomes of finished sums: out = (out +) sums (+ bias), or pre_activation = sums + bias and out = GELU of it.
/// `bias` [n] has the type of the operands; pre_activation [m, n] that of out; null where absent.
template <class T, class Out>
struct Epilogue {
  int64_t n = 0;
  Out* out = nullptr;
  Out* pre_activation = nullptr;
  const T* bias = nullptr;
  bool accumulate = false;

  /// Where f32 sums may be formed in place, so that no copy of the tile is needed.
  float* in_place() const;
  /// Whether sums in place need nothing more.
  bool is_done_in_place() const { return bias == nullptr && pre_activation == nullptr; }
  /// Finishes rows × columns sums (row distance `ld`) of the tile whose first element is [row, column]. The sums may
  /// lie in place. At most kMostTileColumns columns.
  void finish(const float* sums, int64_t ld, int64_t row, int64_t column, int64_t rows, int64_t columns) const;
};

/// Whether the product is bound by the bandwidth of b and takes few_rows_product().
inline bool is_few_rows(int64_t m, bool transpose_a) { return m <= 4 && !transpose_a; }

/// Into how many chunks of equal depth few rows cut a b that is stored [K, N]: 64 rows of b each or more, at most 16.
inline int64_t few_rows_chunks(int64_t k) { return std::clamp<int64_t>(k / 64, 1, 16); }

/// For is_few_rows(): reads b once, as it is stored.
template <class T, class Out>
void few_rows_product(ThreadPool& pool, const Product<T>& product, const Epilogue<T, Out>& epilogue, float* partial);

/// How many partial sums of m·n floats product() wants; 0: none.
inline int64_t partial_sums_of(int64_t m, int64_t k, bool transpose_a, bool transpose_b, const Tiling& tiling) {
  if (is_few_rows(m, transpose_a)) return transpose_b ? 0 : few_rows_chunks(k);
  return tiling.chunks > 1 ? tiling.chunks : 0;
}

/// Any product. `partial`: partial_sums_of()·m·n floats.
template <class T, class Out>
void product(ThreadPool& pool, const Product<T>& product, const Epilogue<T, Out>& epilogue, const Tiling& tiling,
             float* partial);

}  // namespace tsugi::cpu
