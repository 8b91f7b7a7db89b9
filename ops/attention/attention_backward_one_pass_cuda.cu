// Backward attention in one pass with wgmma and TMA (sm_90a): five products instead of seven. After Shah et al.,
// "FlashAttention-3" (2024), section 3, and Dao's code: a block owns keys, and what it finds for dq is added to sums in
// global memory. There the order of additions is fixed: every tile of queries has a count of the tiles of keys that
// have added to it, and a block waits until it is its turn.
//
// Turns go from the last tile of keys that a tile of queries sees to the first ("shortest first" in that code). Under a
// causal mask that is the order in which blocks get there without waiting: the block of keys t begins at the queries on
// its diagonal, where it is the first, and comes to those of the block t + 1 when that block has left them. (In the
// other order every block of a head would be busy until that of its first keys ends.) Where every query sees every key,
// the block of turn r begins r visits late, once: the blocks of later heads start as these end, one visit apart.
//
// Blocks draw their work in an order in which they wait only for work drawn earlier, whatever order the hardware starts
// them in: the block that drew first never waits, so that all end.
#include "ops/attention/attention_backward_hopper.cuh"

namespace tsugi::cuda {
namespace {

constexpr int kDerivativeBuffers = 2;
constexpr int kDerivativesBarrier = 3;  // named; 1 and 2 are the warpgroups' own
constexpr int kConsumerThreads = kBackwardGroups * kGroupThreads;
constexpr int kSumsThreads = 256;
// The two roles of the producer's warpgroup together need more than 40.
constexpr int kFewRegisters = 56;
constexpr int kManyRegisters = 224;

/// Sums for dq in scratch.
struct QuerySums {
  float* tiles;     ///< [batch, heads, tiles of queries, kHopperVisited·D], each tile in the order of product_slot()
  uint32_t* turns;  ///< [batch, heads, tiles of queries]: tiles of keys that have been added
  uint32_t* drawn;  ///< blocks that have drawn their work
};

/// Warpgroups that share a product for dq: each has 64 columns of it.
template <int D>
constexpr int kProductGroups = D / kPanel;

/// Where accumulators 4·block … 4·block + 3 of a thread of these warpgroups lie in a tile of sums.
template <int D>
TSUGI_DEVICE int product_slot(int block, int thread) {
  return (block * kProductGroups<D> * kGroupThreads + thread) * 4;
}

template <int D>
struct OnePassShared {
  Panels<kGroupRows, D> k[kBackwardGroups];
  Panels<kGroupRows, D> v[kBackwardGroups];
  Panels<kHopperVisited, D> q[kBackwardStages];
  Panels<kHopperVisited, D> d_out[kBackwardStages];
  // Derivatives of scores, [keys of a warpgroup, queries].
  dev::SharedArray<bf16, kGroupRows * kPanel> d_scores[kDerivativeBuffers][kBackwardGroups];
  dev::SharedArray<float, kHopperVisited * D> product;  // for dq, of one visit
  dev::SharedArray<float, kHopperVisited> log2_sums[kBackwardStages];
  dev::SharedArray<float, kHopperVisited> deltas[kBackwardStages];
  dev::SharedArray<int, kHopperVisited> first_keys[kBackwardStages];
  dev::SharedArray<int, kHopperVisited> end_keys[kBackwardStages];
  dev::SharedArray<uint64_t, 1> owned;
  RingBarriers full, empty;
  dev::SharedArray<uint64_t, 1> product_full, product_empty;
  dev::SharedArray<uint32_t, 4> drawn;
};

/// By a warp: adds the product of every visit to its sums when it is its turn.
template <int D>
TSUGI_DEVICE void add_products(OnePassShared<D>& s, const AttentionBackward& p, int batch, int key0, Visits visits,
                               const QuerySums& sums) {
  for (int round = 0; !visits.done(); visits.advance(), ++round) {
    if (dev::lane_index() == 0) {
      const int query_tile = visits.query0() / kHopperVisited;
      const int64_t tile = (static_cast<int64_t>(batch) * p.shape.heads + visits.head()) * p.query_tiles + query_tile;
      const TileRange range = dev::load(p.ranges + batch * p.query_tiles + query_tile);
      const auto turn = static_cast<uint32_t>((range.end - 1) / kBackwardRows - key0 / kBackwardRows);
      float* const to = sums.tiles + tile * (kHopperVisited * D);
      dev::mbarrier_wait(s.product_full.at(0), parity_of(round));
      dev::spin_until([&] { return dev::load_acquire(sums.turns + tile) == turn; });
      dev::fence_proxy_async_global();
      if (turn == 0) {
        dev::bulk_store(to, s.product.at(0), kHopperVisited * D * 4);
      } else {
        dev::bulk_add(to, s.product.at(0), kHopperVisited * D * 4);
      }
      dev::tma_store_commit();
      dev::tma_store_wait_read<0>();
      dev::mbarrier_arrive(s.product_empty.at(0));
      dev::tma_store_wait<0>();
      dev::fence_proxy_async_global();
      dev::store_release(sums.turns + tile, turn + 1);
    }
    dev::sync_warp();
  }
}

/// Row 0 … 15 of a warp's derivatives, as pack_operand() made them, into its tile [keys, queries].
TSUGI_DEVICE void store_derivatives(dev::SharedArray<bf16, kGroupRows * kPanel>& to,
                                    const uint32_t (&operand)[kHopperVisited / 16][4]) {
  const int lane = dev::lane_index();
  const int row = dev::warp_index() % 4 * 16 + lane / 4;
  TSUGI_UNROLL
  for (int i = 0; i < kHopperVisited / 4; ++i) {
    const int own = row + i % 2 * 8;
    const uint32_t pair = operand[i / 4][i % 4];
    bf16 low, high;
    low.bits = static_cast<uint16_t>(pair);
    high.bits = static_cast<uint16_t>(pair >> 16);
    to.store(own * kPanel + (i / 2 ^ (own & 7)) * 8 + lane % 4 * 2, dev::Vector<bf16, 2>{low, high});
  }
}

/// Starts 64 columns of d_scoresᵀ · k: those of panel `panel`.
template <int D>
TSUGI_DEVICE void start_product(float (&d)[kPanel / 2], OnePassShared<D>& s, int buffer, int panel) {
  TSUGI_UNROLL
  for (int keys = 0; keys < kBackwardGroups; ++keys) {
    const uint64_t a = dev::matrix_descriptor(s.d_scores[buffer][keys].at(0), kGroupRows * kPanel * 2, 1024);
    const uint64_t b = dev::matrix_descriptor(s.k[keys][panel].at(0), kGroupRows * kPanel * 2, 1024);
    TSUGI_UNROLL
    for (int step = 0; step < kGroupRows / 16; ++step) {
      const uint64_t further = static_cast<uint64_t>(step * 16 * 128 >> 4);
      if (keys == 0 && step == 0) {
        dev::wgmma<kPanel, true, false, true>(d, a, b);
      } else {
        dev::wgmma<kPanel, true, true, true>(d, a + further, b + further);
      }
    }
  }
}

/// Hands a visit's product to add_products(). `group`: of those that share it.
template <int D>
TSUGI_DEVICE void hand_over(OnePassShared<D>& s, const float (&product)[kPanel / 2], int group, int round) {
  const int thread = group * kGroupThreads + dev::thread_index() % kGroupThreads;
  if (round > 0) dev::mbarrier_wait(s.product_empty.at(0), parity_of(round - 1));
  TSUGI_UNROLL
  for (int block = 0; block < kPanel / 8; ++block) {
    s.product.store(product_slot<D>(block, thread),
                    dev::Vector<float, 4>{product[4 * block], product[4 * block + 1], product[4 * block + 2],
                                          product[4 * block + 3]});
  }
  dev::fence_proxy_async();
  dev::sync_warp();
  if (dev::lane_index() == 0) dev::mbarrier_arrive(s.product_full.at(0));
}

/// A block owns 128 keys of a key head and visits the tiles of queries of every query head that reads it, in order.
template <int D>
TSUGI_KERNEL(kBackwardThreads, 1)
differentiate_in_turns(AttentionBackward p, QuerySums sums, TSUGI_GRID_CONSTANT dev::TensorMap q,
                       TSUGI_GRID_CONSTANT dev::TensorMap d_out, TSUGI_GRID_CONSTANT dev::TensorMap k,
                       TSUGI_GRID_CONSTANT dev::TensorMap v, TSUGI_GRID_CONSTANT dev::TensorMap dk,
                       TSUGI_GRID_CONSTANT dev::TensorMap dv) {
  auto& s = dev::shared<OnePassShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  if (dev::thread_index() == 0) {
    s.drawn[0] = dev::atomic_add(sums.drawn, 1);
    dev::mbarrier_init(s.product_full.at(0), kProductGroups<D> * 4);
    dev::mbarrier_init(s.product_empty.at(0), 1);
    make_ring(s.owned, s.full, s.empty, 32);
  }
  dev::sync_threads();
  // All tiles of a head from its last one, head after head.
  const uint32_t drawn = s.drawn[0];
  const int key_tiles = (shape.key_tokens + kBackwardRows - 1) / kBackwardRows;
  const int batch = static_cast<int>(drawn) / key_tiles / shape.key_heads;
  const int key_head = static_cast<int>(drawn) / key_tiles % shape.key_heads;
  const int block_key0 = (key_tiles - 1 - static_cast<int>(drawn) % key_tiles) * kBackwardRows;

  if (dev::warp_index() < 4) {
    dev::release_registers<kFewRegisters>();
    if (dev::warp_index() > 1) return;
    const Visits visits(p, batch, key_head, block_key0, block_key0);
    if (dev::warp_index() == 1) return add_products<D>(s, p, batch, block_key0, visits, sums);
    if (dev::lane_index() == 0) load_owned_keys<D>(s, k, v, block_key0, key_head, batch);
    return produce_queries<D>(s, p, batch, visits, q, d_out);
  }

  dev::claim_registers<kManyRegisters>();
  const int group = dev::warp_index() / 4 - 1;
  const int key0 = block_key0 + group * kGroupRows;
  const float scale_log2 = shape.scale * dev::kLog2E;
  float key_sums[D / 2], value_sums[D / 2];
  TSUGI_UNROLL
  for (int i = 0; i < D / 2; ++i) key_sums[i] = value_sums[i] = 0.0f;
  Visits visits(p, batch, key_head, block_key0, key0);
  dev::mbarrier_wait(s.owned.at(0), 0);
  for (int round = 0; !visits.done(); ++round) {
    const int stage = round % kBackwardStages;
    const int buffer = round % kDerivativeBuffers;
    wait_until_full(s.full, round);
    uint32_t operand[kHopperVisited / 16][4], d_operand[kHopperVisited / 16][4] = {};  // read until the last wait
    // A warpgroup whose keys are not seen leaves its products out, but with heads of 128 that would spill registers.
    if (D == 128 || visits.meets()) {
      float scores[kHopperVisited / 2], d_scores[kHopperVisited / 2];
      dev::wgmma_fence();
      start_transposed<kHopperVisited, D>(scores, s.k[group], s.q[stage]);
      dev::wgmma_commit();
      start_transposed<kHopperVisited, D>(d_scores, s.v[group], s.d_out[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<1>();
      form_probabilities(scores, s, stage, scale_log2, key0, visits.whole());
      pack_operand(operand, scores);
      dev::wgmma_fence();
      start_accumulating<kHopperVisited, D>(value_sums, operand, s.d_out[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<1>();  // for d_scores: the derivatives are formed beside the product for dv
      form_derivatives(scores, d_scores, s, stage);
      pack_operand(d_operand, scores);
    }
    store_derivatives(s.d_scores[buffer][group], d_operand);
    dev::fence_proxy_async();
    // Also: the other warpgroup has left the visit before the last, and with it this buffer.
    dev::barrier_sync(kDerivativesBarrier, kConsumerThreads);
    if (kProductGroups<D> == kBackwardGroups || round % kBackwardGroups == group) {
      float product[kPanel / 2];
      const int share = kProductGroups<D> == kBackwardGroups ? group : 0;
      dev::wgmma_fence();
      start_product<D>(product, s, buffer, share);
      dev::wgmma_commit();
      start_accumulating<kHopperVisited, D>(key_sums, d_operand, s.q[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<1>();
      hand_over<D>(s, product, share, round);
    } else {
      dev::wgmma_fence();
      start_accumulating<kHopperVisited, D>(key_sums, d_operand, s.q[stage]);
      dev::wgmma_commit();
    }
    visits.advance();  // beside that product
    dev::wgmma_wait<0>();
    release_stage(s.empty, round);
  }
  // dk and dv leave through the tiles of k and v: the other warpgroup has read k for its last product.
  dev::barrier_sync(kDerivativesBarrier, kConsumerThreads);
  store_owned<D>(dk, s.k[group], key_sums, shape.scale, shape.head_dim, key0, shape.key_tokens, key_head, batch);
  store_owned<D>(dv, s.v[group], value_sums, 1.0f, shape.head_dim, key0, shape.key_tokens, key_head, batch);
}

/// A block per tile of queries: dq from its sums, zero where no query of the tile sees a key. A thread takes eight
/// columns of two rows, which lie side by side.
template <int D>
TSUGI_KERNEL(kSumsThreads, 4)
scale_sums(AttentionBackward p, QuerySums sums) {
  const int tile = static_cast<int>(dev::block_index().x);
  const int head = static_cast<int>(dev::block_index().y);
  const int batch = static_cast<int>(dev::block_index().z);
  const TileRange range = dev::load(p.ranges + batch * p.query_tiles + tile);
  const int64_t at = (static_cast<int64_t>(batch) * p.shape.heads + head) * p.query_tiles + tile;
  const float* const from = sums.tiles + at * (kHopperVisited * D);
  for (int i = dev::thread_index(); i < kHopperVisited / 2 * (D / 8); i += kSumsThreads) {
    const int column = i % (D / 8) * 8;
    const int row = i / (D / 8) / 8 * 16 + i / (D / 8) % 8;  // and the eighth after it
    if (column >= p.shape.head_dim) continue;
    dev::Vector<bf16, 8> rows[2] = {};
    if (range.first < range.end) {
      const int thread = column / kPanel * kGroupThreads + row / 16 * 32 + row % 8 * 4;
      const int slot = product_slot<D>(column % kPanel / 8, thread);
      TSUGI_UNROLL
      for (int lane = 0; lane < 4; ++lane) {
        const dev::Vector<float, 4> x = dev::load_vector<4>(from + slot + 4 * lane);
        TSUGI_UNROLL
        for (int h = 0; h < 2; ++h) {
          rows[h][2 * lane] = dev::to_bf16(x[2 * h] * p.shape.scale);
          rows[h][2 * lane + 1] = dev::to_bf16(x[2 * h + 1] * p.shape.scale);
        }
      }
    }
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      const int query = tile * kHopperVisited + row + 8 * h;
      if (query >= p.shape.query_tokens) continue;
      dev::store_vector(
          p.dq.data + batch * p.dq.batch_stride + query * p.dq.token_stride + head * p.dq.head_stride + column,
          rows[h]);
    }
  }
}

int64_t query_tiles_of(const DeviceAttentionShape& shape) {
  return int64_t{shape.batch} * shape.heads * tiles_of(shape.query_tokens, kHopperVisited);
}

template <int D>
void launch_in_one_pass(Stream& stream, const AttentionBackward& p, void* scratch) {
  const DeviceAttentionShape& shape = p.shape;
  const int64_t tiles = query_tiles_of(shape);
  QuerySums sums{};
  sums.tiles = static_cast<float*>(scratch);
  sums.turns = reinterpret_cast<uint32_t*>(sums.tiles + tiles * kHopperVisited * D);
  sums.drawn = sums.turns + tiles;
  stream.fill(sums.turns, 0, static_cast<size_t>(tiles + 1) * sizeof(uint32_t));
  const int64_t row = int64_t{shape.heads} * shape.head_dim;
  const DeviceHeads d_out{const_cast<bf16*>(p.d_out), shape.query_tokens * row, row, shape.head_dim};
  const auto queries = [&](const DeviceHeads& heads) {
    return map_of(heads, shape, shape.heads, shape.query_tokens, kHopperVisited);
  };
  const auto keys = [&](const DeviceHeads& heads) {
    return map_of(heads, shape, shape.key_heads, shape.key_tokens, kGroupRows);
  };
  const auto heads = static_cast<unsigned>(shape.key_heads) * static_cast<unsigned>(shape.batch);
  launch(stream, differentiate_in_turns<D>,
         {{tiles_of(shape.key_tokens, kBackwardRows) * heads, 1, 1}, kBackwardThreads, sizeof(OnePassShared<D>)}, p,
         sums, queries(p.q), queries(d_out), keys(p.k), keys(p.v), keys(p.dk), keys(p.dv));
  launch(
      stream, scale_sums<D>,
      {{static_cast<unsigned>(p.query_tiles), static_cast<unsigned>(shape.heads), static_cast<unsigned>(shape.batch)},
       kSumsThreads,
       0},
      p, sums);
}

}  // namespace

size_t one_pass_bytes(const DeviceAttentionShape& shape) {
  const auto tiles = static_cast<size_t>(query_tiles_of(shape));
  const size_t columns = shape.head_dim <= 64 ? 64 : 128;
  return tiles * kHopperVisited * columns * sizeof(float) + (tiles + 1) * sizeof(uint32_t);
}

void differentiate_in_one_pass(Stream& stream, const AttentionBackward& p, void* scratch) {
  if (p.shape.head_dim <= 64) {
    launch_in_one_pass<64>(stream, p, scratch);
  } else {
    launch_in_one_pass<128>(stream, p, scratch);
  }
}

}  // namespace tsugi::cuda
