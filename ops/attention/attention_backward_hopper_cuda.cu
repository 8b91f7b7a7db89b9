// Backward attention with wgmma and TMA (sm_90a). As with mma.sync there are two kernels, one that owns keys and one
// that owns queries, so that every sum has one order and no atomics are needed. A producer warp loads; two warpgroups
// of 64 rows each multiply. Scores of keys are formed transposed, so that probabilities and their derivatives are first
// operands from registers in all products (Shah et al., "FlashAttention-3" 2024, section 3, calls that layout RS).
#include "ops/attention/attention_backward_hopper.cuh"

namespace tsugi::cuda {
namespace {

template <int D>
struct HopperQueryShared {
  static constexpr int kKeys = D == 64 ? 128 : 64;  // of a tile: what registers hold
  Panels<kGroupRows, D> q[kBackwardGroups];
  Panels<kGroupRows, D> d_out[kBackwardGroups];
  Panels<kKeys, D> k[kBackwardStages];
  Panels<kKeys, D> v[kBackwardStages];
  dev::SharedArray<uint64_t, 1> owned;
  RingBarriers full, empty;
};

/// A block owns 128 queries of a head and visits the tiles of keys that they see.
template <int D>
TSUGI_KERNEL(kBackwardThreads, 1)
differentiate_queries_hopper(AttentionBackward p, TSUGI_GRID_CONSTANT dev::TensorMap q,
                             TSUGI_GRID_CONSTANT dev::TensorMap d_out, TSUGI_GRID_CONSTANT dev::TensorMap k,
                             TSUGI_GRID_CONSTANT dev::TensorMap v, TSUGI_GRID_CONSTANT dev::TensorMap dq) {
  auto& s = dev::shared<HopperQueryShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  constexpr int kKeys = HopperQueryShared<D>::kKeys;
  const int head = static_cast<int>(dev::block_index().x);
  const int query0 = static_cast<int>(dev::grid_size().y - 1 - dev::block_index().y) * kBackwardRows;
  const int batch = static_cast<int>(dev::block_index().z);
  if (dev::thread_index() == 0) make_ring(s.owned, s.full, s.empty, 1);
  dev::sync_threads();
  const TileSpan span = tiles_in<kKeys>(range_of(shape, batch, query0, kBackwardRows));

  if (dev::warp_index() < 4) {
    dev::release_registers<kProducerRegisters>();
    if (dev::thread_index() != 0) return;
    dev::mbarrier_arrive_expect(s.owned.at(0), 2 * kBackwardRows * D * 2);
    for (int group = 0; group < kBackwardGroups; ++group) {
      load_panels<kGroupRows, D>(s.q[group], q, s.owned.at(0), query0 + group * kGroupRows, head, batch);
      load_panels<kGroupRows, D>(s.d_out[group], d_out, s.owned.at(0), query0 + group * kGroupRows, head, batch);
    }
    const int key_head = head / (shape.heads / shape.key_heads);
    for (int visit = 0; span.begin + visit < span.end; ++visit) {
      const int stage = visit % kBackwardStages;
      const int key0 = (span.begin + visit) * kKeys;
      wait_until_empty(s.empty, visit);
      dev::mbarrier_arrive_expect(s.full.at(stage), 2 * kKeys * D * 2);
      load_panels<kKeys, D>(s.k[stage], k, s.full.at(stage), key0, key_head, batch);
      load_panels<kKeys, D>(s.v[stage], v, s.full.at(stage), key0, key_head, batch);
    }
    return;
  }

  dev::claim_registers<kConsumerRegisters>();
  const int group = dev::warp_index() / 4 - 1;
  const int first_query = query0 + group * kGroupRows;
  const int lane = dev::lane_index();
  const float scale_log2 = shape.scale * dev::kLog2E;
  const TileRange own = range_of(shape, batch, first_query, kGroupRows);
  QueryStatistics rows[2];
  TSUGI_UNROLL
  for (int h = 0; h < 2; ++h)
    rows[h] = statistics_of(p, batch, head, first_query + dev::warp_index() % 4 * 16 + lane / 4 + 8 * h);
  float sums[D / 2];
  TSUGI_UNROLL
  for (int i = 0; i < D / 2; ++i) sums[i] = 0.0f;
  dev::mbarrier_wait(s.owned.at(0), 0);
  for (int visit = 0; span.begin + visit < span.end; ++visit) {
    const int stage = visit % kBackwardStages;
    const int key0 = (span.begin + visit) * kKeys;
    wait_until_full(s.full, visit);
    if (own.overlaps(key0, key0 + kKeys)) {
      float scores[kKeys / 2], d_scores[kKeys / 2];
      dev::wgmma_fence();
      start_transposed<kKeys, D>(scores, s.q[group], s.k[stage]);
      dev::wgmma_commit();
      start_transposed<kKeys, D>(d_scores, s.d_out[group], s.v[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<1>();
      TSUGI_UNROLL
      for (int i = 0; i < kKeys / 2; ++i) {
        scores[i] = dev::exp2(dev::fma(scores[i], scale_log2, -rows[i / 2 % 2].log2_sum));
      }
      if (!own.whole(key0, key0 + kKeys)) {
        TSUGI_UNROLL
        for (int h = 0; h < 2; ++h) {
          // Relative to the first key of this lane.
          const int begin = rows[h].keys.first - key0 - lane % 4 * 2;
          const int end = rows[h].keys.end - key0 - lane % 4 * 2;
          TSUGI_UNROLL
          for (int i = 0; i < kKeys / 4; ++i) {
            const int at = i / 2 * 4 + 2 * h + i % 2;
            const int key = at / 4 * 8 + at % 2;
            if (key < begin || key >= end) scores[at] = 0.0f;
          }
        }
      }
      dev::wgmma_wait<0>();
      TSUGI_UNROLL
      for (int i = 0; i < kKeys / 2; ++i) scores[i] *= d_scores[i] - rows[i / 2 % 2].delta;
      uint32_t operand[kKeys / 16][4];
      pack_operand(operand, scores);
      dev::wgmma_fence();
      start_accumulating<kKeys, D>(sums, operand, s.k[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<0>();
    }
    release_stage(s.empty, visit);
  }
  store_owned<D>(dq, s.q[group], sums, shape.scale, shape.head_dim, first_query, shape.query_tokens, head, batch);
}

template <int D>
struct HopperKeyShared {
  Panels<kGroupRows, D> k[kBackwardGroups];
  Panels<kGroupRows, D> v[kBackwardGroups];
  Panels<kHopperVisited, D> q[kBackwardStages];
  Panels<kHopperVisited, D> d_out[kBackwardStages];
  dev::SharedArray<float, kHopperVisited> log2_sums[kBackwardStages];
  dev::SharedArray<float, kHopperVisited> deltas[kBackwardStages];
  dev::SharedArray<int, kHopperVisited> first_keys[kBackwardStages];
  dev::SharedArray<int, kHopperVisited> end_keys[kBackwardStages];
  dev::SharedArray<uint64_t, 1> owned;
  RingBarriers full, empty;
};

/// A block owns 128 keys of a key head and visits the tiles of queries of every query head that reads it, in order.
template <int D>
TSUGI_KERNEL(kBackwardThreads, 1)
differentiate_keys_hopper(AttentionBackward p, TSUGI_GRID_CONSTANT dev::TensorMap q,
                          TSUGI_GRID_CONSTANT dev::TensorMap d_out, TSUGI_GRID_CONSTANT dev::TensorMap k,
                          TSUGI_GRID_CONSTANT dev::TensorMap v, TSUGI_GRID_CONSTANT dev::TensorMap dk,
                          TSUGI_GRID_CONSTANT dev::TensorMap dv) {
  auto& s = dev::shared<HopperKeyShared<D>>();
  const DeviceAttentionShape& shape = p.shape;
  // Causal keys at the beginning are seen by the most queries: they go first.
  const int batch = static_cast<int>(dev::block_index().z);
  const int key_head = static_cast<int>(dev::block_index().x);
  const int block_key0 = static_cast<int>(dev::block_index().y) * kBackwardRows;
  if (dev::thread_index() == 0) make_ring(s.owned, s.full, s.empty, 32);
  dev::sync_threads();

  if (dev::warp_index() < 4) {
    dev::release_registers<kProducerRegisters>();
    if (dev::warp_index() != 0) return;
    if (dev::lane_index() == 0) load_owned_keys<D>(s, k, v, block_key0, key_head, batch);
    produce_queries<D>(s, p, batch, Visits(p, batch, key_head, block_key0, block_key0), q, d_out);
    return;
  }

  dev::claim_registers<kConsumerRegisters>();
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
    wait_until_full(s.full, round);
    uint32_t operand[kHopperVisited / 16][4], d_operand[kHopperVisited / 16][4];  // read until the last wait
    if (visits.meets()) {
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
      start_accumulating<kHopperVisited, D, true>(value_sums, operand, s.d_out[stage]);
      dev::wgmma_commit();
      dev::wgmma_wait<1>();  // for d_scores: the derivatives are formed beside the product for dv
      form_derivatives(scores, d_scores, s, stage);
      pack_operand(d_operand, scores);
      dev::wgmma_fence();
      start_accumulating<kHopperVisited, D, true>(key_sums, d_operand, s.q[stage]);
      dev::wgmma_commit();
    }
    visits.advance();  // beside that product
    dev::wgmma_wait<0>();
    release_stage(s.empty, round);
  }
  store_owned<D>(dk, s.k[group], key_sums, shape.scale, shape.head_dim, key0, shape.key_tokens, key_head, batch);
  store_owned<D>(dv, s.v[group], value_sums, 1.0f, shape.head_dim, key0, shape.key_tokens, key_head, batch);
}

template <int D>
void launch_backward_hopper(Stream& stream, const AttentionBackward& p) {
  const DeviceAttentionShape& shape = p.shape;
  const auto batch = static_cast<unsigned>(shape.batch);
  const int64_t row = int64_t{shape.heads} * shape.head_dim;
  const DeviceHeads d_out{const_cast<bf16*>(p.d_out), shape.query_tokens * row, row, shape.head_dim};
  const auto queries = [&](const DeviceHeads& heads) {
    return map_of(heads, shape, shape.heads, shape.query_tokens, kGroupRows);
  };
  const auto keys = [&](const DeviceHeads& heads, int box) {
    return map_of(heads, shape, shape.key_heads, shape.key_tokens, box);
  };
  static_assert(kHopperVisited == kGroupRows);
  constexpr int kTile = HopperQueryShared<D>::kKeys;
  launch(stream, differentiate_keys_hopper<D>,
         {{static_cast<unsigned>(shape.key_heads), tiles_of(shape.key_tokens, kBackwardRows), batch},
          kBackwardThreads,
          sizeof(HopperKeyShared<D>)},
         p, queries(p.q), queries(d_out), keys(p.k, kGroupRows), keys(p.v, kGroupRows), keys(p.dk, kGroupRows),
         keys(p.dv, kGroupRows));
  launch(stream, differentiate_queries_hopper<D>,
         {{static_cast<unsigned>(shape.heads), tiles_of(shape.query_tokens, kBackwardRows), batch},
          kBackwardThreads,
          sizeof(HopperQueryShared<D>)},
         p, queries(p.q), queries(d_out), keys(p.k, kTile), keys(p.v, kTile), queries(p.dq));
}

}  // namespace

void differentiate_with_wgmma(Stream& stream, const AttentionBackward& p) {
  if (p.shape.head_dim <= 64) {
    launch_backward_hopper<64>(stream, p);
  } else {
    launch_backward_hopper<128>(stream, p);
  }
}

}  // namespace tsugi::cuda
