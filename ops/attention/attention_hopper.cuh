// What attention's kernels for sm_90a share: tiles as TMA brings them and wgmma reads them.
#pragma once

#include "ops/attention/attention_ranges.cuh"
#include "ops/cuda/hopper.cuh"

namespace tsugi::cuda {

inline constexpr int kGroupThreads = 128;  // a warpgroup
inline constexpr int kGroupRows = 64;      // of its products: the rows of a wgmma
inline constexpr int kPanel = 64;          // elements in 128 bytes, the width of a swizzled row

/// A [Rows, D] tile, 64 columns after 64 columns, each panel swizzled.
template <int Rows, int D>
using Panels = dev::SharedArray<bf16, Rows * kPanel>[D / kPanel];

TSUGI_DEVICE uint32_t parity_of(int round) { return static_cast<uint32_t>(round & 1); }

/// Starts loading rows [token, token + Rows) of a head, zeros beyond the last; by one thread. `full` expects Rows·D·2
/// bytes of it.
template <int Rows, int D>
TSUGI_DEVICE void load_panels(Panels<Rows, D>& to, const dev::TensorMap& map, uint64_t* full, int token, int head,
                              int batch) {
  for (int panel = 0; panel < D / kPanel; ++panel) {
    dev::tma_load(to[panel].at(0), map, full, panel * kPanel, token, head, batch);
  }
}

/// Starts storing 64 rows, by one thread; what lies beyond the last token is not written.
template <int D>
TSUGI_DEVICE void store_panels(const dev::TensorMap& map, Panels<kGroupRows, D>& from, int head_dim, int token,
                               int head, int batch) {
  for (int panel = 0; panel * kPanel < head_dim; ++panel) {
    dev::tma_store(map, from[panel].at(0), panel * kPanel, token, head, batch);
  }
}

/// Starts d[64, N] = a[64, D] · bᵀ, b [N, D].
template <int N, int D>
TSUGI_DEVICE void start_transposed(float (&d)[N / 2], Panels<kGroupRows, D>& a, Panels<N, D>& b) {
  TSUGI_UNROLL
  for (int panel = 0; panel < D / kPanel; ++panel) {
    const uint64_t a_panel = dev::matrix_descriptor(a[panel].at(0), 16, 1024);
    const uint64_t b_panel = dev::matrix_descriptor(b[panel].at(0), 16, 1024);
    TSUGI_UNROLL
    for (int step = 0; step < kPanel / 16; ++step) {
      const uint64_t further = static_cast<uint64_t>(step * 32 >> 4);
      if (panel == 0 && step == 0) {
        dev::wgmma<N, false, false>(d, a_panel, b_panel);
      } else {
        dev::wgmma<N, false>(d, a_panel + further, b_panel + further);
      }
    }
  }
}

/// Starts d[64, D] += x[64, Rows] · b[Rows, D], x as pack_operand() makes it. `Uniform`: ptxas keeps the address of b
/// in uniform registers, which add 64 bits at once; with others dev::further() takes half the instructions.
template <int Rows, int D, bool Uniform = false>
TSUGI_DEVICE void start_accumulating(float (&d)[D / 2], const uint32_t (&x)[Rows / 16][4], Panels<Rows, D>& b) {
  const uint64_t first = dev::matrix_descriptor(b[0].at(0), Rows * kPanel * 2, 1024);
  TSUGI_UNROLL
  for (int step = 0; step < Rows / 16; ++step) {
    const uint64_t at = Uniform ? first + (step * 16 * 128 >> 4) : dev::further(first, step * 16 * 128);
    dev::wgmma<D, true>(d, x[step], at);
  }
}

/// The accumulators of a product [64, 8·Count], rounded, are the first operand of the next.
template <int Count>
TSUGI_DEVICE void pack_operand(uint32_t (&x)[Count][4], const float (&sums)[8 * Count]) {
  TSUGI_UNROLL
  for (int i = 0; i < 4 * Count; ++i) x[i / 4][i % 4] = dev::pack(sums[2 * i], sums[2 * i + 1]);
}

/// Half `h` of a thread's accumulators [64, D], times `scale`: row `row` of a tile that is to be stored.
template <int D>
TSUGI_DEVICE void stage_row(Panels<kGroupRows, D>& to, int row, int h, const float (&sums)[D / 2], float scale) {
  TSUGI_UNROLL
  for (int n = 0; n < D / 8; ++n) {
    const dev::Vector<bf16, 2> pair{dev::to_bf16(sums[4 * n + 2 * h] * scale),
                                    dev::to_bf16(sums[4 * n + 2 * h + 1] * scale)};
    to[n / 8].store(row * kPanel + (n % 8 ^ (row & 7)) * 8 + dev::lane_index() % 4 * 2, pair);
  }
}

/// The range of queries [query0, query0 + count), by one warp.
TSUGI_DEVICE TileRange range_of(const DeviceAttentionShape& shape, int batch, int query0, int count) {
  TileRange range;
  for (int i = dev::lane_index(); i < count && query0 + i < shape.query_tokens; i += 32) {
    const KeyRange keys = keys_of(shape, batch, query0 + i);
    range.add({keys.first, keys.end, keys.first, keys.end});
  }
  return warp_range(range);
}

/// The tiles of `Keys` keys [begin, end) that `range` needs, of the tiles from 0.
struct TileSpan {
  int begin, end;
};
template <int Keys>
TSUGI_DEVICE TileSpan tiles_in(const TileRange& range) {
  if (range.first >= range.end) return {0, 0};
  return {range.first / Keys, (range.end + Keys - 1) / Keys};
}

/// Tiles of `box_tokens` tokens of one head.
inline dev::TensorMap map_of(const DeviceHeads& heads, const DeviceAttentionShape& shape, int head_count, int tokens,
                             int box_tokens) {
  return make_tensor_map({.base = heads.data,
                          .extents = {shape.head_dim, tokens, head_count, shape.batch},
                          .strides = {1, heads.token_stride, heads.head_stride, heads.batch_stride},
                          .box = {kPanel, box_tokens, 1, 1}});
}

}  // namespace tsugi::cuda
