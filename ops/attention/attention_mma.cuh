// Tiles of attention in shared memory, and their fragments for mma.m16n8k16.
#pragma once

#include "ops/attention/attention_ranges.cuh"
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

  /// Starts copying rows [0, rows) × [0, head_dim) of a matrix by all threads; the rest of the tile becomes zero. A
  /// thread copies the same chunk of every kStep-th row: kStep is a multiple of 8, so that these chunks lie at one
  /// distance from each other in the tile, too.
  TSUGI_DEVICE void fetch(const bf16* from, int64_t stride, int rows, int head_dim) {
    constexpr int kStep = kAttentionThreads / kChunks;
    static_assert(kStep % 8 == 0 && Rows % kStep == 0);
    const int row = dev::thread_index() / kChunks;
    const int chunk = dev::thread_index() % kChunks;
    const bool inside = chunk * 8 < head_dim;
    const bf16* source = from + row * stride + chunk * 8;
    bf16* const to = at(row, chunk);
    TSUGI_UNROLL
    for (int j = 0; j < Rows / kStep; ++j) {
      const bool valid = inside && row + j * kStep < rows;
      dev::copy_async_16(to + j * kStep * D, valid ? source : from, valid);
      source += kStep * stride;
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

/// sums[m][16, 8·Blocks] += a[rows row + 16·m … +16, D] · bᵀ, where b holds [8·Blocks, D]; each of b's fragments is
/// loaded once for all M.
template <int M, int Blocks, int D, int RowsA, int RowsB>
TSUGI_DEVICE void multiply_transposed(float (*sums)[Blocks][4], Tile<RowsA, D>& a, int row, Tile<RowsB, D>& b) {
  TSUGI_UNROLL
  for (int k = 0; k < D / 16; ++k) {
    uint32_t fragments[M][4];
    TSUGI_UNROLL
    for (int m = 0; m < M; ++m) a.load_a(fragments[m], row + m * 16, k);
    TSUGI_UNROLL
    for (int n = 0; n < Blocks; n += 2) {
      uint32_t pair[4];
      b.load_b(pair, n * 8, k);
      TSUGI_UNROLL
      for (int m = 0; m < M; ++m) {
        dev::mma_m16n8k16(sums[m][n], fragments[m], pair[0], pair[1]);
        dev::mma_m16n8k16(sums[m][n + 1], fragments[m], pair[2], pair[3]);
      }
    }
  }
}

/// sums[m][16, D] += x[m][16, 8·Blocks] · b[8·Blocks, D]; x are the accumulators of an earlier product, rounded to
/// bf16: the layout of a result is that of a first operand.
template <int M, int Blocks, int D, int RowsB>
TSUGI_DEVICE void multiply_accumulators(float (*sums)[D / 8][4], const float (*x)[Blocks][4], Tile<RowsB, D>& b) {
  TSUGI_UNROLL
  for (int k = 0; k < Blocks / 2; ++k) {
    uint32_t fragments[M][4];
    TSUGI_UNROLL
    for (int m = 0; m < M; ++m) {
      TSUGI_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float(&block)[4] = x[m][2 * k + i / 2];
        fragments[m][i] = dev::pack(block[i % 2 * 2], block[i % 2 * 2 + 1]);
      }
    }
    TSUGI_UNROLL
    for (int n = 0; n < D / 16; ++n) {
      uint32_t pair[4];
      b.load_b_transposed(pair, k * 16, n);
      TSUGI_UNROLL
      for (int m = 0; m < M; ++m) {
        dev::mma_m16n8k16(sums[m][2 * n], fragments[m], pair[0], pair[1]);
        dev::mma_m16n8k16(sums[m][2 * n + 1], fragments[m], pair[2], pair[3]);
      }
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

/// Sums that scores begin with, so that scaling them leaves what is added by distance: element i of block n is that of
/// the key minus the query `distance_of(n, i)`; where there is no such pair, that of the nearest.
template <int Blocks, class F>
TSUGI_DEVICE void begin_with_bias(float (&sums)[Blocks][4], const DeviceAttentionShape& s, int head, F&& distance_of) {
  const int last = s.key_tokens + s.query_tokens - 2;
  const float* const row = s.relative_bias + static_cast<int64_t>(head) * (last + 1);
  const float inverse = 1.0f / s.scale;
  TSUGI_UNROLL
  for (int n = 0; n < Blocks; ++n) {
    TSUGI_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int column = distance_of(n, i) + s.query_tokens - 1;
      sums[n][i] = dev::load(row + (column < 0 ? 0 : column > last ? last : column)) * inverse;
    }
  }
}

/// Of element i of block n of an accumulator in what kept_scores() returns.
template <int Blocks>
constexpr int kept_bit(int n, int i) {
  return n % (Blocks / 2) * 8 + i / 2 * 4 + n / (Blocks / 2) * 2 + i % 2;
}

/// Where dropout keeps an accumulator's scores: those of 16 queries from query0 on and 8·Blocks keys from key0 (a
/// multiple of 16) on or, Transposed, of 16 keys and 8·Blocks queries. Four keys have one block of random words. Where
/// no block is of two queries, four lanes need the same blocks: each computes a quarter of them. Not unrolled, and to
/// be called while no scores are in registers: the random numbers of many elements side by side would not fit beside
/// them.
template <int Blocks, bool Transposed>
TSUGI_DEVICE uint32_t kept_scores(const DropoutKey& dropout, const DeviceAttentionShape& s, int batch, int head,
                                  int query0, int key0) {
  static_assert(Blocks == 8 || Blocks == 4);
  constexpr int kHalf = Blocks / 2;
  const int lane = dev::lane_index();
  const int64_t first_row = static_cast<int64_t>(head) * s.query_tokens + query0;
  if (s.key_tokens % 4 == 0) {
    const int place = Transposed ? lane / 4 % 4 : lane % 4;
    const int row = Transposed ? place / 2 * kHalf * 8 + lane % 4 * 2 + place % 2 : lane / 4 + place / 2 * 8;
    const int key = key0 + (Transposed ? lane / 16 * 4 : place % 2 * kHalf * 8);
    // Blocks are numbered by 32 bits.
    const auto row_blocks = static_cast<uint32_t>(s.key_tokens / 4);
    const uint32_t first = static_cast<uint32_t>(first_row + row) * row_blocks + static_cast<uint32_t>(key / 4);
    const RandomStream stream = dev::dropout_stream(dropout, batch);
    const uint32_t kept = dev::kept_words<Blocks>(stream, dropout.threshold, [first, row_blocks](int t) {
      const auto block = static_cast<uint32_t>(t);
      return first + (Transposed ? block / 2 * 8 * row_blocks + block % 2 * 2 : block);
    });
    return dev::exchange_kept<4, Transposed ? 1 : 2>(kept, Transposed ? lane & ~12 : lane & ~3, Transposed ? 4 : 1,
                                                     place);
  }
  uint32_t bits = 0;
#ifdef __CUDACC__
#pragma unroll 1
#endif
  for (int bit = 0; bit < Blocks * 4; ++bit) {  // kept_bit(n, 2·h + bit % 2)
    const int n = bit / 2 % 2 * kHalf + bit / 8;
    const int h = bit / 4 % 2;
    const int row = lane / 4 + 8 * h;
    const int column = n * 8 + lane % 4 * 2 + bit % 2;
    const int64_t query = first_row + (Transposed ? column : row);
    float factor[1];
    dev::dropout_factors<1>(dropout, batch, query * s.key_tokens + key0 + (Transposed ? row : column), factor);
    bits |= static_cast<uint32_t>(factor[0] > 0.0f) << bit;
  }
  return bits;
}

struct RangeScratch {
  dev::SharedArray<int, 4 * 4> values;
};

/// Of `range`, one per thread; `counts`: the thread has a query. To be called by all threads of the block.
TSUGI_DEVICE TileRange combine_ranges(KeyRange range, bool counts, RangeScratch& scratch) {
  TileRange all = counts ? TileRange{range.first, range.end, range.first, range.end} : TileRange{};
  all = warp_range(all);
  if (dev::lane_index() == 0) {
    scratch.values.store(dev::warp_index() * 4, dev::Vector<int, 4>{all.first, all.end, all.all_first, all.all_end});
  }
  dev::sync_threads();
  for (int w = 0; w < kAttentionThreads / 32; ++w) {
    const dev::Vector<int, 4> other = scratch.values.load<4>(w * 4);
    all.add({other[0], other[1], other[2], other[3]});
  }
  return all;
}

TSUGI_DEVICE const bf16* head_of(const DeviceHeads& heads, int batch, int token, int head) {
  return heads.data + batch * heads.batch_stride + token * heads.token_stride + head * heads.head_stride;
}

}  // namespace tsugi::cuda
