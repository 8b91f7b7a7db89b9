// Products of a few rows, as in decoding: every element of b is used a few times only, so what counts is to read b
// once, as it is stored, on all threads.
#include <algorithm>
#include <array>

#include "ops/matmul/lanes.h"
#include "ops/matmul/matmul_internal.h"

namespace tsugi::cpu {
namespace {

constexpr int64_t kPieceColumns = 128;

/// b stored [K, N]: rows of b, scaled, are added to kPieceColumns sums in registers and first cache.
template <int kRows, class T>
void piece_along_rows(const Product<T>& p, int64_t column, int64_t columns, float* sums) {
  constexpr int64_t kSteps = 4;           // rows of b per pass over the sums
  constexpr int64_t kAhead = 4 * kSteps;  // strides this large are beyond the hardware's prefetcher
  std::fill_n(sums, kRows * kPieceColumns, 0.0f);
  int64_t k = 0;
  for (; k + kSteps <= p.k; k += kSteps) {
    const T* b = p.b + k * p.n + column;
    if (k + kAhead + kSteps <= p.k) {
      for (int64_t step = 0; step < kSteps; ++step) {
        const T* ahead = b + (kAhead + step) * p.n;
        for (int64_t j = 0; j < columns; j += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(ahead + j);
      }
    }
    float a[kRows][kSteps];
    for (int m = 0; m < kRows; ++m) {
      for (int64_t step = 0; step < kSteps; ++step) a[m][step] = static_cast<float>(p.a[m * p.k + k + step]);
    }
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) {
      const float b0 = static_cast<float>(b[j]);
      const float b1 = static_cast<float>(b[p.n + j]);
      const float b2 = static_cast<float>(b[2 * p.n + j]);
      const float b3 = static_cast<float>(b[3 * p.n + j]);
      for (int m = 0; m < kRows; ++m) {
        sums[m * kPieceColumns + j] += a[m][0] * b0 + a[m][1] * b1 + (a[m][2] * b2 + a[m][3] * b3);
      }
    }
  }
  for (; k < p.k; ++k) {
    const T* b = p.b + k * p.n + column;
    for (int m = 0; m < kRows; ++m) {
      const float a = static_cast<float>(p.a[m * p.k + k]);
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) sums[m * kPieceColumns + j] += a * static_cast<float>(b[j]);
    }
  }
}

/// kColumns dot products of each row of a with stored rows of b.
template <int kRows, int kColumns, class T>
void dot_products(const Product<T>& p, int64_t column, float* sums) {
  Lanes lanes[kRows][kColumns] = {};
  const T* b = p.b + column * p.k;
  constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
  int64_t k = 0;
  for (; k + kLanes <= p.k; k += kLanes) {
    Lanes a[kRows];
    for (int m = 0; m < kRows; ++m) load(p.a + m * p.k + k, a[m]);
    if (k % kLine == 0) {  // rows are short streams, over before the hardware follows them
      for (int c = 0; c < kColumns; ++c) __builtin_prefetch(b + (c + kColumns) * p.k + k);
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
void rows_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue) {
  // Narrower pieces for narrow outputs, so that there are some for every thread.
  const int64_t width = std::clamp<int64_t>((p.n / 16 + 31) / 32 * 32, 32, kPieceColumns);
  pool.for_each((p.n + width - 1) / width, [&](int64_t index, int) {
    const int64_t column = index * width;
    const int64_t columns = std::min(width, p.n - column);
    alignas(64) std::array<float, kRows * kPieceColumns> sums;
    if (p.transpose_b) {
      piece_along_columns<kRows>(p, column, columns, sums.data());
    } else {
      piece_along_rows<kRows>(p, column, columns, sums.data());
    }
    epilogue.finish(sums.data(), kPieceColumns, 0, column, kRows, columns);
  });
}

}  // namespace

template <class T, class Out>
void few_rows_product(ThreadPool& pool, const Product<T>& p, const Epilogue<T, Out>& epilogue) {
  switch (p.m) {
    case 1:
      return rows_product<1>(pool, p, epilogue);
    case 2:
      return rows_product<2>(pool, p, epilogue);
    case 3:
      return rows_product<3>(pool, p, epilogue);
    default:
      return rows_product<4>(pool, p, epilogue);
  }
}

template void few_rows_product(ThreadPool&, const Product<float>&, const Epilogue<float, float>&);
template void few_rows_product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, float>&);
template void few_rows_product(ThreadPool&, const Product<bf16>&, const Epilogue<bf16, bf16>&);

}  // namespace tsugi::cpu
