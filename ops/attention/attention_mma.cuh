// Tiles of attention in shared memory, their fragments for mma.m16n8k16, and the keys that a query sees.
#pragma once

#include "ops/attention/attention_cuda.h"
#include "ops/cuda/device.cuh"
#include "ops/cuda/dropout.cuh"

namespace tsugi::cuda {

inline constexpr int kAttentionThreads = 128;  // four warps, each with its own rows of the first operand

/// A [Rows, D] tile. Chunk c (8 elements) of row r lies at chunk c ^ (r % 8): the eight rows that one ldmatrix reads
/// then lie in different banks.
template <int Rows, int D>
struct Tile {
  static constexpr int kChunks = D / 8;
  dev::SharedArray<bf16, Rows * D> data;

  TSUGI_DEVICE bf16* at(int row, int chunk) { return data.at(row * D + (chunk ^ (row & 7)) * 8); }

  /// Starts copying rows [0, rows) × [0, head_dim) of a matrix by all threads; the rest of the tile becomes zero.
  TSUGI_DEVICE void fetch(const bf16* from, int64_t stride, int rows, int head_dim) {
    for (int i = dev::thread_index(); i < Rows * kChunks; i += kAttentionThreads) {
      const int row = i / kChunks;
      const int chunk = i % kChunks;
      const bool valid = row < rows && chunk * 8 < head_dim;
      dev::copy_async_16(at(row, chunk), valid ? from + row * stride + chunk * 8 : from, valid);
    }
  }

  /// The A operand: rows [row, row + 16), columns [16·k, 16·k + 16).
  TSUGI_DEVICE void load_a(uint32_t (&a)[4], int row, int k) {
    const int lane = dev::lane_index();
    dev::ldmatrix_x4(a, at(row + lane % 16, 2 * k + lane / 16));
  }
  /// Two B operands where the tile is [n, k]: n in [row, row + 16), k as above.
  TSUGI_DEVICE void load_b(uint32_t (&b)[4], int row, int k) {
    const int lane = dev::lane_index();
    dev::ldmatrix_x4(b, at(row + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
  }
  /// Two B operands where the tile is [k, n]: k in [row, row + 16), n in [16·column, 16·column + 16).
  TSUGI_DEVICE void load_b_transposed(uint32_t (&b)[4], int row, int column) {
    const int lane = dev::lane_index();
    dev::ldmatrix_x4_transposed(b, at(row + lane % 16, 2 * column + lane / 16));
  }
};

/// sums[16, 8·Blocks] += a[rows row … +16, D] · bᵀ, where b holds [8·Blocks, D].
template <int Blocks, int D, int RowsA, int RowsB>
TSUGI_DEVICE void multiply_transposed(float (&sums)[Blocks][4], Tile<RowsA, D>& a, int row, Tile<RowsB, D>& b) {
  TSUGI_UNROLL
  for (int k = 0; k < D / 16; ++k) {
    uint32_t fragment[4];
    a.load_a(fragment, row, k);
    TSUGI_UNROLL
    for (int n = 0; n < Blocks; n += 2) {
      uint32_t pair[4];
      b.load_b(pair, n * 8, k);
      dev::mma_m16n8k16(sums[n], fragment, pair[0], pair[1]);
      dev::mma_m16n8k16(sums[n + 1], fragment, pair[2], pair[3]);
    }
  }
}

/// sums[16, D] += x[16, 8·Blocks] · b[8·Blocks, D]; x are the accumulators of an earlier product, rounded to bf16: the
/// layout of a result is that of a first operand.
template <int Blocks, int D, int RowsB>
TSUGI_DEVICE void multiply_accumulators(float (&sums)[D / 8][4], const float (&x)[Blocks][4], Tile<RowsB, D>& b) {
  TSUGI_UNROLL
  for (int k = 0; k < Blocks / 2; ++k) {
    const uint32_t fragment[4] = {dev::pack(x[2 * k][0], x[2 * k][1]), dev::pack(x[2 * k][2], x[2 * k][3]),
                                  dev::pack(x[2 * k + 1][0], x[2 * k + 1][1]),
                                  dev::pack(x[2 * k + 1][2], x[2 * k + 1][3])};
    TSUGI_UNROLL
    for (int n = 0; n < D / 16; ++n) {
      uint32_t pair[4];
      b.load_b_transposed(pair, k * 16, n);
      dev::mma_m16n8k16(sums[2 * n], fragment, pair[0], pair[1]);
      dev::mma_m16n8k16(sums[2 * n + 1], fragment, pair[2], pair[3]);
    }
  }
}

template <int Blocks>
TSUGI_DEVICE void clear(float (&sums)[Blocks][4]) {
  TSUGI_UNROLL
  for (int n = 0; n < Blocks; ++n) {
    TSUGI_UNROLL
    for (int i = 0; i < 4; ++i) sums[n][i] = 0.0f;
  }
}

/// Bit 4·n + i: dropout keeps element i of block n of an accumulator, which is element element_of(n, i) of the batch's
/// stream. Not unrolled, and to be called while no scores are in registers: the random numbers of many elements side by
/// side would not fit beside them.
template <int Blocks, class F>
TSUGI_DEVICE uint32_t kept_elements(const DropoutKey& key, int batch, F&& element_of) {
  static_assert(Blocks <= 8);
  uint32_t bits = 0;
#ifdef __CUDACC__
#pragma unroll 1
#endif
  for (int e = 0; e < Blocks * 4; ++e) {
    float factor[1];
    dev::dropout_factors<1>(key, batch, element_of(e / 4, e % 4), factor);
    bits |= static_cast<uint32_t>(factor[0] > 0.0f) << e;
  }
  return bits;
}

/// A query sees the keys [first, end).
struct KeyRange {
  int first;
  int end;
};

/// Empty (first > end of any other) beyond the last query.
TSUGI_DEVICE KeyRange keys_of(const DeviceAttentionShape& s, int batch, int query) {
  KeyRange range{0, s.key_tokens};
  const KeyRange none{0x7FFFFFFF, 0};
  if (query >= s.query_tokens) return none;
  const int diagonal = query + s.key_tokens - s.query_tokens;
  if (s.causal && diagonal + 1 < range.end) range.end = diagonal + 1;
  if (s.window > 0) {
    if (diagonal - s.window + 1 > range.first) range.first = diagonal - s.window + 1;
    if (diagonal + s.window < range.end) range.end = diagonal + s.window;
  }
  const int64_t row = static_cast<int64_t>(batch) * s.query_tokens + query;
  if (s.first_key != nullptr) {
    const int first = dev::load(s.first_key + row);
    if (first > range.first) range.first = first;
  }
  if (s.end_key != nullptr) {
    const int end = dev::load(s.end_key + row);
    if (end < range.end) range.end = end;
  }
  return range.first < range.end ? range : none;
}

/// What the queries of a tile see together: some query sees keys in [first, end) only, and all see [all_first,
/// all_end). Queries beyond the last one do not count.
struct TileRange {
  int first;
  int end;
  int all_first;
  int all_end;

  TSUGI_DEVICE bool overlaps(int begin, int stop) const { return first < stop && begin < end; }
  TSUGI_DEVICE bool whole(int begin, int stop) const { return all_first <= begin && stop <= all_end; }
};

struct RangeScratch {
  dev::SharedArray<int, 4 * 4> values;
};

/// Of `range`, one per thread; `counts`: the thread has a query. To be called by all threads of the block.
TSUGI_DEVICE TileRange combine_ranges(KeyRange range, bool counts, RangeScratch& scratch) {
  const auto smaller = [](int a, int b) { return a < b ? a : b; };
  const auto larger = [](int a, int b) { return a > b ? a : b; };
  TileRange all{range.first, range.end, counts ? range.first : 0, counts ? range.end : 0x7FFFFFFF};
  const auto add = [&](int first, int end, int all_first, int all_end) {
    all = {smaller(all.first, first), larger(all.end, end), larger(all.all_first, all_first),
           smaller(all.all_end, all_end)};
  };
  for (int mask = 16; mask > 0; mask /= 2) {
    const int first = dev::shuffle_xor(all.first, mask);
    const int end = dev::shuffle_xor(all.end, mask);
    const int all_first = dev::shuffle_xor(all.all_first, mask);
    const int all_end = dev::shuffle_xor(all.all_end, mask);
    add(first, end, all_first, all_end);
  }
  if (dev::lane_index() == 0) {
    scratch.values.store(dev::warp_index() * 4, dev::Vector<int, 4>{all.first, all.end, all.all_first, all.all_end});
  }
  dev::sync_threads();
  for (int w = 0; w < kAttentionThreads / 32; ++w) {
    const dev::Vector<int, 4> other = scratch.values.load<4>(w * 4);
    add(other[0], other[1], other[2], other[3]);
  }
  return all;
}

TSUGI_DEVICE const bf16* head_of(const DeviceHeads& heads, int batch, int token, int head) {
  return heads.data + batch * heads.batch_stride + token * heads.token_stride + head * heads.head_stride;
}

inline unsigned tiles_of(int tokens, int size) { return static_cast<unsigned>((tokens + size - 1) / size); }

}  // namespace tsugi::cuda
