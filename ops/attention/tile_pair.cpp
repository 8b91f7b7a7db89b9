#include "ops/attention/tile_pair.h"

#include <dnnl.h>
#include <glog/logging.h>

namespace tsugi::cpu {
namespace {

/// c[m, n] = alpha · op(a)[m, k] · op(b)[k, n] + beta · c, on the calling thread (the pool sets OpenMP to one thread).
void multiply(char transpose_a, char transpose_b, int64_t m, int64_t n, int64_t k, float alpha, ConstMatrix a,
              ConstMatrix b, float beta, Matrix c) {
  const dnnl_status_t status =
      dnnl_sgemm(transpose_a, transpose_b, m, n, k, alpha, a.data, a.stride, b.data, b.stride, beta, c.data, c.stride);
  CHECK_EQ(status, dnnl_success);
}

/// The left operand of a product: element (i, k) lies at data[i·row + k·step].
struct LeftOperand {
  const float* data = nullptr;
  int64_t row = 0;
  int64_t step = 0;
};

/// Unrolled from the start, or the compiler keeps the sums in memory.
template <int kCount, int kVectors>
void register_tile(int64_t depth, float alpha, LeftOperand a, ConstMatrix b, bool accumulate, Matrix c) {
  Lanes sums[kCount][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[i][v] = Lanes{};
  }
  for (int64_t k = 0; k < depth; ++k) {
    Lanes row[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) tsugi::load(b.data + k * b.stride + v * kLanes, row[v]);
#pragma GCC unroll 8
    for (int i = 0; i < kCount; ++i) {
      const float factor = a.data[i * a.row + k * a.step];
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[i][v] += factor * row[v];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kCount; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* const to = c.data + i * c.stride + v * kLanes;
      Lanes before{};
      if (accumulate) tsugi::load(to, before);
      const Lanes result = before + alpha * sums[i][v];
      std::memcpy(to, &result, sizeof(result));
    }
  }
}

/// c[kCount, columns] = alpha · a · b[depth, columns] (+ c); `columns` in whole vectors.
template <int kCount>
void register_tiles(int64_t columns, int64_t depth, float alpha, LeftOperand a, ConstMatrix b, bool accumulate,
                    Matrix c) {
  int64_t j = 0;
  for (; j + 2 * kLanes <= columns; j += 2 * kLanes) {
    register_tile<kCount, 2>(depth, alpha, a, {b.data + j, b.stride}, accumulate, {c.data + j, c.stride});
  }
  for (; j < columns; j += kLanes) {
    register_tile<kCount, 1>(depth, alpha, a, {b.data + j, b.stride}, accumulate, {c.data + j, c.stride});
  }
}

/// The same for up to six rows.
void few_rows(int64_t rows, int64_t columns, int64_t depth, float alpha, LeftOperand a, ConstMatrix b, bool accumulate,
              Matrix c) {
  switch (rows) {
    case 1:
      return register_tiles<1>(columns, depth, alpha, a, b, accumulate, c);
    case 2:
      return register_tiles<2>(columns, depth, alpha, a, b, accumulate, c);
    case 3:
      return register_tiles<3>(columns, depth, alpha, a, b, accumulate, c);
    case 4:
      return register_tiles<4>(columns, depth, alpha, a, b, accumulate, c);
    case 5:
      return register_tiles<5>(columns, depth, alpha, a, b, accumulate, c);
    default:
      return register_tiles<6>(columns, depth, alpha, a, b, accumulate, c);
  }
}

}  // namespace

void TilePair::scores(float alpha, ConstMatrix a, const KeyRows& b, Matrix c) const {
  if (!narrow_) return multiply('N', 'T', queries_, keys_, width_, alpha, a, b.rows, 0.0f, c);
  for (int64_t i = 0; i < blocks(); ++i) {
    const Range keys = block(i);
    const int64_t row = i * kRows;
    few_rows(std::min(kRows, queries_ - row), padded(keys.size()), width_, alpha,
             {a.data + row * a.stride, a.stride, 1}, {b.columns.data + keys.begin, b.columns.stride}, false,
             {c.data + row * c.stride + keys.begin, c.stride});
  }
}

void TilePair::sums_over_keys(float alpha, ConstMatrix a, ConstMatrix b, bool accumulate, Matrix c) const {
  if (!narrow_) return multiply('N', 'N', queries_, width_, keys_, alpha, a, b, accumulate ? 1.0f : 0.0f, c);
  for (int64_t i = 0; i < blocks(); ++i) {
    const Range keys = block(i);
    const int64_t row = i * kRows;
    few_rows(std::min(kRows, queries_ - row), width_, keys.size(), alpha,
             {a.data + row * a.stride + keys.begin, a.stride, 1}, {b.data + keys.begin * b.stride, b.stride},
             accumulate, {c.data + row * c.stride, c.stride});
  }
}

void TilePair::sums_over_queries(float alpha, ConstMatrix a, ConstMatrix b, bool accumulate, Matrix c) const {
  if (!narrow_) return multiply('T', 'N', keys_, width_, queries_, alpha, a, b, accumulate ? 1.0f : 0.0f, c);
  for (int64_t key = 0; key < keys_; key += kRows) {
    const int64_t count = std::min(kRows, keys_ - key);
    const auto sees = [&](int64_t i) { return block(i).begin < key + count && block(i).end > key; };
    int64_t first = 0;
    int64_t end = blocks();
    while (first < end && !sees(first)) ++first;
    while (first < end && !sees(end - 1)) --end;
    const int64_t query = first * kRows;
    few_rows(count, width_, std::max<int64_t>(std::min(end * kRows, queries_) - query, 0), alpha,
             {a.data + query * a.stride + key, 1, a.stride}, {b.data + query * b.stride, b.stride}, accumulate,
             {c.data + key * c.stride, c.stride});
  }
}

}  // namespace tsugi::cpu
