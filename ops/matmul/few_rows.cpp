// Products of a few rows, as in decoding: every element of b is used a few times only, so what counts is to read b
// once, as it is stored, on all threads.
#include <algorithm>
#include <array>

#include "ops/matmul/lanes.h"
#include "ops/matmul/matmul_internal.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kPieceColumns = 128;

/// Elements of a cache line.
template <class T>
constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));

/// sums[kRows, n] = the part of the product that rows [first, end) of b make, b stored [K, N]. These rows are one
/// stretch of memory, read from its beginning to its end; narrower pieces of them would be too short for the hardware
/// to follow.
template <int kRows, class T>
void chunk_along_rows(const Product<T>& p, int64_t first, int64_t end, float* sums) {
  constexpr int64_t kSteps = kRows <= 2 ? 8 : 4;  // rows of b per pass over the sums
  constexpr int64_t kColumns = 4096 / kRows;      // sums that stay in the first cache
  std::fill_n(sums, kRows * p.n, 0.0f);
  for (int64_t column = 0; column < p.n; column += kColumns) {
    const int64_t columns = std::min(kColumns, p.n - column);
    int64_t k = first;
    for (; k + kSteps <= end; k += kSteps) {
      const T* b = p.b + k * p.n + column;
      float a[kRows][kSteps];
      for (int m = 0; m < kRows; ++m) {
        for (int64_t step = 0; step < kSteps; ++step) a[m][step] = static_cast<float>(p.a[m * p.k + k + step]);
      }
      float* to = sums + column;
      // A row of bf16 is hardly longer than a page: over before the hardware follows it. So the same places of the next
      // rows are asked for; behind the last ones nothing is read, whatever lies there.
      for (int64_t line = 0; line < columns; line += kLine<T>) {
        for (int64_t step = 0; step < kSteps; ++step) __builtin_prefetch(b + (step + kSteps) * p.n + line, 0, 2);
        const int64_t line_end = std::min(line + kLine<T>, columns);
#pragma omp simd
        for (int64_t j = line; j < line_end; ++j) {
          float row[kSteps];
          for (int64_t step = 0; step < kSteps; ++step) row[step] = static_cast<float>(b[step * p.n + j]);
          for (int m = 0; m < kRows; ++m) {
            float sum = a[m][0] * row[0];
            for (int64_t step = 1; step < kSteps; ++step) sum += a[m][step] * row[step];
            to[m * p.n + j] += sum;
          }
        }
      }
    }
    for (; k < end; ++k) {
      const T* b = p.b + k * p.n + column;
      for (int m = 0; m < kRows; ++m) {
        const float a = static_cast<float>(p.a[m * p.k + k]);
        float* to = sums + m * p.n + column;
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) to[j] += a * static_cast<float>(b[j]);
      }
    }
  }
}

/// kColumns dot products of each row of a with stored rows of b.
template <int kRows, int kColumns, class T>
void dot_products(const Product<T>& p, int64_t column, float* sums) {
  Lanes lanes[kRows][kColumns] = {};
  const T* b = p.b + column * p.k;
  int64_t k = 0;
  for (; k + kLanes <= p.k; k += kLanes) {
    Lanes a[kRows];
    for (int m = 0; m < kRows; ++m) load(p.a + m * p.k + k, a[m]);
    if (k % kLine<T> == 0) {  // rows are short streams, over before the hardware follows them
      for (int c = 0; c < kColumns; ++c) __builtin_prefetch(b + (c + 4 * kColumns) * p.k + k, 0, 2);
    }
    for (int c = 0; c < kColumns; ++c) {
      Lanes value;
      load(b + c * p.k + k, value);
      for (int m = 0; m < kRows; ++m) lanes[m][c] += a[m] * value;
    }
  }
  for (int m = 0; m < kRows; ++m) {
    for (int c = 0; c < kColumns; ++c) {
      float sum = sum_of(lanes[m][c]);
      for (int64_t rest = k; rest < p.k; ++rest) {
        sum += static_cast<float>(p.a[m * p.k + rest]) * static_cast<float>(b[c * p.k + rest]);
      }
      sums[m * kPieceColumns + c] = sum;
    }
  }
}

/// b stored [N, K].
template <int kRows, class T>
void piece_along_columns(const Product<T>& p, int64_t column, int64_t columns, float* sums) {
  constexpr int kColumns = kRows <= 2 ? 4 : 2;  // sums that fit the registers
  int64_t j = 0;
  for (; j + kColumns <= columns; j += kColumns) dot_products<kRows, kColumns>(p, column + j, sums + j);
  for (; j < columns; ++j) dot_products<kRows, 1>(p, column + j, sums + j);
}

template <int kRows, class T, class Out>
void rows_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue, float* partial) {
  // Narrower pieces for narrow outputs, so that there are some for every thread.
  const int64_t width = std::clamp<int64_t>((p.n / 16 + 31) / 32 * 32, 32, kPieceColumns);
  const int64_t pieces = (p.n + width - 1) / width;
  if (p.transpose_b) {
    return pool.for_each(pieces, [&](int64_t index, int) {
      const int64_t column = index * width;
      const int64_t columns = std::min(width, p.n - column);
      alignas(64) std::array<float, kRows * kPieceColumns> sums;
      piece_along_columns<kRows>(p, column, columns, sums.data());
      epilogue.finish(sums.data(), kPieceColumns, 0, column, kRows, columns);
    });
  }
  const int64_t chunks = few_rows_chunks(p.k);
  const int64_t depth = (p.k + chunks - 1) / chunks;
  pool.for_each(chunks, [&](int64_t chunk, int) {
    chunk_along_rows<kRows>(p, std::min(chunk * depth, p.k), std::min((chunk + 1) * depth, p.k),
                            partial + chunk * kRows * p.n);
  });
  pool.for_each(pieces, [&](int64_t index, int) {
    const int64_t column = index * width;
    const int64_t columns = std::min(width, p.n - column);
    for (int m = 0; m < kRows; ++m) {
      float* sums = partial + m * p.n + column;
      for (int64_t chunk = 1; chunk < chunks; ++chunk) {
        const float* next = sums + chunk * kRows * p.n;
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) sums[j] += next[j];
      }
    }
    epilogue.finish(partial + column, p.n, 0, column, kRows, columns);
  });
}

}  // namespace

template <class T, class Out>
void few_rows_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue, float* partial) {
  switch (p.m) {
    case 1:
      return rows_product<1>(pool, p, epilogue, partial);
    case 2:
      return rows_product<2>(pool, p, epilogue, partial);
    case 3:
      return rows_product<3>(pool, p, epilogue, partial);
    default:
      return rows_product<4>(pool, p, epilogue, partial);
  }
}

template void few_rows_product(ThreadPool&, const Product<float>&, const Epilogue<float, float>&, float*);
template void few_rows_product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, float>&, float*);
template void few_rows_product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, bf16>&, float*);

}  // namespace tsugi::cpu
