// Tiles of attention in shared memory as f32, and their products by plain multiply-adds: for f32, which tensor cores
// would round, and for heads of any size.
#pragma once

#include "ops/attention/attention_ranges.cuh"
#include "ops/cuda/device.cuh"
#include "ops/cuda/dropout.cuh"

namespace tsugi::cuda {

/// 16 × 16 threads: thread (y, x) has rows y + 16·i and columns x + 16·j of the scores of two tiles, and of what they
/// make of rows of D elements, the columns 64·c + 4·x to 64·c + 4·x + 3. Rows of scores belong to half a warp.
inline constexpr int kFmaThreads = 256;
TSUGI_DEVICE int fma_y() { return dev::thread_index() / 16; }
TSUGI_DEVICE int fma_x() { return dev::thread_index() % 16; }

/// Queries, and keys, of a tile: as many as registers and 163 KiB of shared memory have room for.
constexpr int fma_tile(int head_dim) { return head_dim <= 128 ? 64 : 32; }

/// [Rows, D] in rows of D + 4, so that the same columns of eight rows lie in different banks.
template <int Rows, int D>
struct FmaTile {
  static constexpr int kStride = D + 4;
  dev::SharedArray<float, Rows * kStride> data;

  /// Copies rows [0, rows) × [0, head_dim) of a matrix by all threads; the rest of the tile becomes zero.
  template <class T>
  TSUGI_DEVICE void fetch(const T* from, int64_t stride, int rows, int head_dim) {
    for (int i = dev::thread_index(); i < Rows * D; i += kFmaThreads) {
      const int row = i / D;
      const int column = i % D;
      float value = 0.0f;
      if (row < rows && column < head_dim) value = dev::to_float(dev::load(from + row * stride + column));
      data[row * kStride + column] = value;
    }
  }
  TSUGI_DEVICE dev::Vector<float, 4> four(int row, int column) { return data.template load<4>(row * kStride + column); }
};

/// Of scores, or what became of them: [Rows, Columns].
template <int Rows, int Columns>
using FmaWeights = FmaTile<Rows, Columns>;

/// sums = a · bᵀ over the first head_dim columns.
template <int N, int M, int RowsA, int RowsB, int D>
TSUGI_DEVICE void fma_transposed(float (&sums)[N][M], FmaTile<RowsA, D>& a, FmaTile<RowsB, D>& b, int head_dim) {
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    TSUGI_UNROLL
    for (int j = 0; j < M; ++j) sums[i][j] = 0.0f;
  }
  for (int d = 0; d < head_dim; d += 4) {
    dev::Vector<float, 4> left[N];
    TSUGI_UNROLL
    for (int i = 0; i < N; ++i) left[i] = a.four(fma_y() + 16 * i, d);
    TSUGI_UNROLL
    for (int j = 0; j < M; ++j) {
      const dev::Vector<float, 4> right = b.four(fma_x() + 16 * j, d);
      TSUGI_UNROLL
      for (int i = 0; i < N; ++i) {
        TSUGI_UNROLL
        for (int e = 0; e < 4; ++e) sums[i][j] = dev::fma(left[i][e], right[e], sums[i][j]);
      }
    }
  }
}

/// Writes this thread's part of the weights; its half-warp may read them after sync_warp().
template <int N, int M, int Rows, int Columns>
TSUGI_DEVICE void fma_store(const float (&values)[N][M], FmaWeights<Rows, Columns>& weights) {
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    TSUGI_UNROLL
    for (int j = 0; j < M; ++j) {
      weights.data[(fma_y() + 16 * i) * FmaWeights<Rows, Columns>::kStride + fma_x() + 16 * j] = values[i][j];
    }
  }
}

/// sums += weights · b.
template <int N, int Width, int Rows, int Columns, int D>
TSUGI_DEVICE void fma_rows(float (&sums)[N][Width], FmaWeights<Rows, Columns>& weights, FmaTile<Columns, D>& b) {
  static_assert(Width == D / 16 && Rows == 16 * N);
  for (int j = 0; j < Columns; j += 4) {
    dev::Vector<float, 4> left[N];
    TSUGI_UNROLL
    for (int i = 0; i < N; ++i) left[i] = weights.four(fma_y() + 16 * i, j);
    TSUGI_UNROLL
    for (int e = 0; e < 4; ++e) {
      TSUGI_UNROLL
      for (int c = 0; c < D / 64; ++c) {
        const dev::Vector<float, 4> right = b.four(j + e, 64 * c + 4 * fma_x());
        TSUGI_UNROLL
        for (int i = 0; i < N; ++i) {
          TSUGI_UNROLL
          for (int f = 0; f < 4; ++f) sums[i][4 * c + f] = dev::fma(left[i][e], right[f], sums[i][4 * c + f]);
        }
      }
    }
  }
}

/// values[i], rows of T that lie `stride` apart from `to` on, each times factors[i]; only the first `rows` rows.
template <class T, int N, int Width>
TSUGI_DEVICE void fma_write(const float (&values)[N][Width], const float (&factors)[N], T* to, int64_t stride, int rows,
                            int head_dim) {
  TSUGI_UNROLL
  for (int i = 0; i < N; ++i) {
    const int row = fma_y() + 16 * i;
    TSUGI_UNROLL
    for (int k = 0; k < Width; ++k) {
      const int column = k / 4 * 64 + 4 * fma_x() + k % 4;
      if (row < rows && column < head_dim) {
        dev::store(to + row * stride + column, dev::round_to<T>(values[i][k] * factors[i]));
      }
    }
  }
}

/// Of element e = M·i + j of a thread's [N, M] scores in what fma_kept() returns.
template <bool Transposed>
constexpr int fma_kept_bit(int e) {
  constexpr int kSharers = Transposed ? 2 : 4;
  return e / kSharers * 4 + e % kSharers;
}

/// Where dropout keeps this thread's scores of the queries from query0 on and the keys from key0 (a multiple of 16) on:
/// rows are queries or, Transposed, keys. Four keys have one block of random words. Where no block is of two queries,
/// lanes that need the same blocks compute a part of them each: four lanes, or those two of a warp that have keys side
/// by side.
template <int N, int M, bool Transposed>
TSUGI_DEVICE uint32_t fma_kept(const DropoutKey& dropout, const DeviceAttentionShape& s, int batch, int head,
                               int query0, int key0) {
  static_assert(N * M <= 16 && N * M % 4 == 0);
  if (!dropout.active()) return 0xFFFFFFFFu;
  const int64_t first_row = static_cast<int64_t>(head) * s.query_tokens + query0;
  if (s.key_tokens % 4 == 0) {
    constexpr int kSharers = Transposed ? 2 : 4;
    const int lane = dev::lane_index();
    const int part = Transposed ? lane / 16 : lane % 4;
    const RandomStream stream = dev::dropout_stream(dropout, batch);
    const uint32_t kept = dev::kept_words<N * M / kSharers>(stream, dropout.threshold, [&](int t) {
      const int e = t * kSharers + part;
      const int row = e / M * 16 + fma_y();
      const int column = e % M * 16 + fma_x();
      // Blocks are numbered by 32 bits.
      return static_cast<uint32_t>(first_row + (Transposed ? column : row)) * static_cast<uint32_t>(s.key_tokens / 4) +
             static_cast<uint32_t>((key0 + (Transposed ? row : column)) / 4);
    });
    return dev::exchange_kept<kSharers, 1>(kept, Transposed ? lane % 16 : lane & ~3, Transposed ? 16 : 1,
                                           Transposed ? fma_y() % 4 : lane % 4);
  }
  uint32_t bits = 0;
#ifdef __CUDACC__
#pragma unroll 1  // the random numbers of many elements side by side need many registers
#endif
  for (int e = 0; e < N * M; ++e) {
    const int row = e / M * 16 + fma_y();
    const int column = e % M * 16 + fma_x();
    const int64_t query = first_row + (Transposed ? column : row);
    float factor[1];
    dev::dropout_factors<1>(dropout, batch, query * s.key_tokens + key0 + (Transposed ? row : column), factor);
    bits |= static_cast<uint32_t>(factor[0] > 0.0f) << fma_kept_bit<Transposed>(e);
  }
  return bits;
}

/// A score in base 2 with what is added by distance; `row`: of the head, or null.
TSUGI_DEVICE float fma_score(const DeviceAttentionShape& s, const float* bias, float product, float scale_log2,
                             int query, int key) {
  if (bias == nullptr) return product * scale_log2;
  const int last = s.key_tokens + s.query_tokens - 2;
  const int column = key - query + s.query_tokens - 1;  // beyond the last query or key: any
  const float added = dev::load(bias + (column < 0 ? 0 : column > last ? last : column));
  return dev::fma(added, dev::kLog2E, product * scale_log2);
}
TSUGI_DEVICE const float* bias_of(const DeviceAttentionShape& s, int head) {
  return s.relative_bias == nullptr
             ? nullptr
             : s.relative_bias + static_cast<int64_t>(head) * (s.key_tokens + s.query_tokens - 1);
}

template <class T>
TSUGI_DEVICE T* row_of(const TypedHeads& heads, int batch, int token, int head) {
  return static_cast<T*>(heads.data) + batch * heads.batch_stride + token * heads.token_stride +
         head * heads.head_stride;
}

struct FmaRangeScratch {
  dev::SharedArray<int, kFmaThreads / 32 * 4> values;
};

/// Of the `size` queries from query0 on. To be called by all threads of the block.
TSUGI_DEVICE TileRange fma_range(const DeviceAttentionShape& s, int batch, int query0, int size,
                                 FmaRangeScratch& scratch) {
  const int query = query0 + dev::thread_index();
  TileRange all;
  if (dev::thread_index() < size && query < s.query_tokens) {
    const KeyRange own = keys_of(s, batch, query);
    all = {own.first, own.end, own.first, own.end};
  }
  all = warp_range(all);
  if (dev::lane_index() == 0) {
    scratch.values.store(dev::warp_index() * 4, dev::Vector<int, 4>{all.first, all.end, all.all_first, all.all_end});
  }
  dev::sync_threads();
  for (int w = 0; w < kFmaThreads / 32; ++w) {
    const dev::Vector<int, 4> other = scratch.values.load<4>(w * 4);
    all.add({other[0], other[1], other[2], other[3]});
  }
  return all;
}

}  // namespace tsugi::cuda
