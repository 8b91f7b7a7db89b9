#include <algorithm>
#include <cstring>
#include <type_traits>

#include "ops/reduce/partial_sums.h"
#include "ops/reduce/reduce_internal.h"
#include "ops/tensor/convert_row.h"

namespace tsugi::cpu {
namespace {

/// Calls f(begin, end) for pieces of [0, count) that fit the second cache.
template <class F>
void for_pieces(ThreadPool& pool, int64_t count, F&& f) {
  constexpr int64_t kPiece = 16384;
  pool.for_each((count + kPiece - 1) / kPiece,
                [&](int64_t piece, int) { f(piece * kPiece, std::min((piece + 1) * kPiece, count)); });
}

/// sums[c] = Σ over `rows` rows of x[·, c], whose rows are `ld` apart; four rows per pass over the sums.
template <class T>
void sum_rows(const T* x, int64_t ld, int64_t rows, int64_t columns, float* sums) {
  std::fill_n(sums, columns, 0.0f);
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, x += 4 * ld) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      sums[j] += (static_cast<float>(x[j]) + static_cast<float>(x[ld + j])) +
                 (static_cast<float>(x[2 * ld + j]) + static_cast<float>(x[3 * ld + j]));
    }
  }
  for (; row < rows; ++row, x += ld) {
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) sums[j] += static_cast<float>(x[j]);
  }
}

}  // namespace

void column_sum(const Context& context, const Tensor& x, const Tensor& partial, const Tensor& out) {
  constexpr int64_t kColumns = 2048;  // sums that stay in the first cache
  const int64_t rows = x.shape()[0];
  const int64_t columns = x.shape()[1];
  const int64_t chunks = partial.shape()[0];
  const int64_t blocks = (columns + kColumns - 1) / kColumns;
  dispatch_compute_type(x.dtype(), [&]<class T>(T) {
    const T* from = x.data<T>();
    float* sums = partial.data<float>();
    context.pool().for_each(chunks * blocks, [&](int64_t index, int) {
      const int64_t chunk = index / blocks;
      const int64_t row = chunk * kColumnSumRows;
      const int64_t column = index % blocks * kColumns;
      sum_rows(from + row * columns + column, columns, std::min(kColumnSumRows, rows - row),
               std::min(kColumns, columns - column), sums + chunk * columns + column);
    });
    add_partial_sums(context.pool(), sums, chunks, columns, columns, out.data<float>());
  });
}

void add_in_place(const Context& context, const Tensor& a, const Tensor& b) {
  dispatch_compute_type(a.dtype(), [&]<class T>(T) {
    T* to = a.data<T>();
    const T* from = b.data<T>();
    for_pieces(context.pool(), a.elements(), [&](int64_t begin, int64_t end) {
#pragma omp simd
      for (int64_t i = begin; i < end; ++i) store(to[i], static_cast<float>(to[i]) + static_cast<float>(from[i]));
    });
  });
}

void fill_zero(const Context& context, const Tensor& x) {
  std::byte* to = static_cast<std::byte*>(x.raw());
  for_pieces(context.pool(), static_cast<int64_t>(x.bytes()),
             [&](int64_t begin, int64_t end) { std::memset(to + begin, 0, static_cast<size_t>(end - begin)); });
}

void convert(const Context& context, const Tensor& from, const Tensor& to) {
  dispatch_compute_type(from.dtype(), [&]<class From>(From) {
    dispatch_compute_type(to.dtype(), [&]<class To>(To) {
      const From* source = from.data<From>();
      To* target = to.data<To>();
      for_pieces(context.pool(), from.elements(), [&](int64_t begin, int64_t end) {
        if constexpr (std::is_same_v<From, To>) {
          std::copy(source + begin, source + end, target + begin);
        } else if constexpr (std::is_same_v<From, bf16>) {
          widen(source + begin, target + begin, end - begin);
        } else {
          narrow(source + begin, target + begin, end - begin);
        }
      });
    });
  });
}

}  // namespace tsugi::cpu
