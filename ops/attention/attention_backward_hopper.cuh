// What attention's backward kernels for sm_90a share: rings, and the queries that a block of keys visits.
#pragma once

#include "ops/attention/attention_backward.cuh"
#include "ops/attention/attention_hopper.cuh"

namespace tsugi::cuda {

inline constexpr int kBackwardGroups = 2;
inline constexpr int kBackwardRows = kBackwardGroups * kGroupRows;  // that a block owns
inline constexpr int kBackwardThreads = (kBackwardGroups + 1) * kGroupThreads;
inline constexpr int kBackwardStages = 2;
inline constexpr int kBackwardWarps = kBackwardGroups * 4;  // that multiply
inline constexpr int kConsumerRegisters = 232;
inline constexpr int kProducerRegisters = 40;

using RingBarriers = dev::SharedArray<uint64_t, kBackwardStages>;

/// To be called by one thread, before the block is synchronised. `arrivals`: of the producer, for a full stage.
TSUGI_DEVICE void make_ring(dev::SharedArray<uint64_t, 1>& owned, RingBarriers& full, RingBarriers& empty,
                            int arrivals) {
  dev::mbarrier_init(owned.at(0), 1);
  for (int stage = 0; stage < kBackwardStages; ++stage) {
    dev::mbarrier_init(full.at(stage), arrivals);
    dev::mbarrier_init(empty.at(stage), kBackwardWarps);
  }
  dev::fence_mbarrier_init();
}
TSUGI_DEVICE void wait_until_empty(RingBarriers& empty, int visit) {
  if (visit < kBackwardStages) return;
  dev::mbarrier_wait(empty.at(visit % kBackwardStages), parity_of(visit / kBackwardStages - 1));
}
TSUGI_DEVICE void wait_until_full(RingBarriers& full, int visit) {
  dev::mbarrier_wait(full.at(visit % kBackwardStages), parity_of(visit / kBackwardStages));
}
/// By a warp that has read a stage.
TSUGI_DEVICE void release_stage(RingBarriers& empty, int visit) {
  dev::sync_warp();
  if (dev::lane_index() == 0) dev::mbarrier_arrive(empty.at(visit % kBackwardStages));
}

/// What a warpgroup owns leaves through its tile in shared memory, which none of its products reads any longer.
template <int D>
TSUGI_DEVICE void store_owned(const dev::TensorMap& map, Panels<kGroupRows, D>& tile, const float (&sums)[D / 2],
                              float scale, int head_dim, int token, int tokens, int head, int batch) {
  const int group = dev::warp_index() / 4;
  const int row = dev::warp_index() % 4 * 16 + dev::lane_index() / 4;
  dev::barrier_sync(group, kGroupThreads);
  TSUGI_UNROLL
  for (int h = 0; h < 2; ++h) stage_row<D>(tile, row + 8 * h, h, sums, scale);
  dev::fence_proxy_async();
  dev::barrier_sync(group, kGroupThreads);
  if (dev::thread_index() % kGroupThreads == 0 && token < tokens) {
    store_panels<D>(map, tile, head_dim, token, head, batch);
    dev::tma_store_commit();
    dev::tma_store_wait<0>();
  }
}

/// The visits of a block, by a whole warp: tiles of queries that see some of the block's keys, of every query head of
/// its key head, in order. The ranges of 32 tiles are read at once, one per lane, and kept as bits.
class Visits {
 public:
  /// The keys [key0, key0 + kBackwardRows) are the block's, the 64 from `own_key0` those of meets() and whole().
  TSUGI_DEVICE Visits(const AttentionBackward& parameters, int batch, int key_head, int key0, int own_key0)
      : p_(parameters), batch_(batch), key0_(key0), own_key0_(own_key0) {
    const int group = p_.shape.heads / p_.shape.key_heads;
    head_ = key_head * group;
    end_head_ = head_ + group;
    read();
    seek();
  }

  TSUGI_DEVICE bool done() const { return head_ == end_head_; }
  TSUGI_DEVICE int head() const { return head_; }
  TSUGI_DEVICE int query0() const { return (first_ + dev::lowest_bit(left_)) * kHopperVisited; }
  /// Some query of the tile sees some of the keys; all queries see all of them.
  TSUGI_DEVICE bool meets() const { return (left_ & -left_ & meeting_) != 0; }
  TSUGI_DEVICE bool whole() const { return (left_ & -left_ & whole_) != 0; }

  TSUGI_DEVICE void advance() {
    left_ &= left_ - 1;
    seek();
  }

 private:
  const AttentionBackward& p_;
  int batch_, key0_, own_key0_, head_, end_head_;
  int first_ = 0;                    ///< the tile of bit 0
  uint32_t left_, meeting_, whole_;  ///< tiles to be visited; of them those that meets() and whole() tell of

  TSUGI_DEVICE void read() {
    const int tile = first_ + dev::lane_index();
    TileRange range;  // of no query
    if (tile < p_.query_tiles) range = dev::load(p_.ranges + batch_ * p_.query_tiles + tile);
    left_ = dev::ballot(range.overlaps(key0_, key0_ + kBackwardRows));
    meeting_ = dev::ballot(range.overlaps(own_key0_, own_key0_ + kGroupRows));
    whole_ = dev::ballot(range.whole(own_key0_, own_key0_ + kGroupRows));
  }
  TSUGI_DEVICE void seek() {
    while (left_ == 0) {
      first_ += 32;
      if (first_ >= p_.query_tiles) {
        first_ = 0;
        if (++head_ == end_head_) return;
      }
      read();
    }
  }
};

/// By the producer warp.
template <int D, class Shared>
TSUGI_DEVICE void produce_queries(Shared& s, const AttentionBackward& p, int batch, Visits visits,
                                  const dev::TensorMap& q, const dev::TensorMap& d_out) {
  for (int round = 0; !visits.done(); visits.advance(), ++round) {
    const int stage = round % kBackwardStages;
    const int head = visits.head();
    const int query0 = visits.query0();
    // Before the wait, so that nobody waits for them.
    QueryStatistics x[kHopperVisited / 32];
    TSUGI_UNROLL
    for (int i = 0; i < kHopperVisited / 32; ++i) {
      x[i] = statistics_of(p, batch, head, query0 + 32 * i + dev::lane_index());
    }
    wait_until_empty(s.empty, round);
    TSUGI_UNROLL
    for (int i = 0; i < kHopperVisited / 32; ++i) {
      const int row = 32 * i + dev::lane_index();
      s.log2_sums[stage][row] = x[i].log2_sum;
      s.deltas[stage][row] = x[i].delta;
      s.first_keys[stage][row] = x[i].keys.first;
      s.end_keys[stage][row] = x[i].keys.end;
    }
    if (dev::lane_index() == 0) {
      dev::mbarrier_arrive_expect(s.full.at(stage), 2 * kHopperVisited * D * 2);
      load_panels<kHopperVisited, D>(s.q[stage], q, s.full.at(stage), query0, head, batch);
      load_panels<kHopperVisited, D>(s.d_out[stage], d_out, s.full.at(stage), query0, head, batch);
    } else {
      dev::mbarrier_arrive(s.full.at(stage));
    }
  }
}

/// By a thread of the producer: the keys and values of a block's warpgroups.
template <int D, class Shared>
TSUGI_DEVICE void load_owned_keys(Shared& s, const dev::TensorMap& k, const dev::TensorMap& v, int block_key0,
                                  int key_head, int batch) {
  dev::mbarrier_arrive_expect(s.owned.at(0), 2 * kBackwardRows * D * 2);
  for (int group = 0; group < kBackwardGroups; ++group) {
    const int key = block_key0 + group * kGroupRows;
    load_panels<kGroupRows, D>(s.k[group], k, s.owned.at(0), key, key_head, batch);
    load_panels<kGroupRows, D>(s.v[group], v, s.owned.at(0), key, key_head, batch);
  }
}

/// Scores of a warpgroup's keys from `key0` with the queries of a stage become probabilities. `whole`: every query sees
/// every key.
template <class Shared>
TSUGI_DEVICE void form_probabilities(float (&scores)[kHopperVisited / 2], Shared& s, int stage, float scale_log2,
                                     int key0, bool whole) {
  const int lane = dev::lane_index();
  TSUGI_UNROLL
  for (int n = 0; n < kHopperVisited / 8; ++n) {
    const dev::Vector<float, 2> log2_sums = s.log2_sums[stage].template load<2>(n * 8 + lane % 4 * 2);
    TSUGI_UNROLL
    for (int i = 0; i < 4; ++i) {
      scores[4 * n + i] = dev::exp2(dev::fma(scores[4 * n + i], scale_log2, -log2_sums[i % 2]));
    }
  }
  if (whole) return;
  const int key = key0 + dev::warp_index() % 4 * 16 + lane / 4;  // and the eighth after it
  TSUGI_UNROLL
  for (int n = 0; n < kHopperVisited / 8; ++n) {
    const int column = n * 8 + lane % 4 * 2;
    const dev::Vector<int, 2> first = s.first_keys[stage].template load<2>(column);
    const dev::Vector<int, 2> end = s.end_keys[stage].template load<2>(column);
    TSUGI_UNROLL
    for (int i = 0; i < 4; ++i) {
      const int own = key + 8 * (i / 2);
      if (own < first[i % 2] || own >= end[i % 2]) scores[4 * n + i] = 0.0f;
    }
  }
}

/// Probabilities become derivatives of scores: those of probabilities, less their mean in the row, times these.
template <class Shared>
TSUGI_DEVICE void form_derivatives(float (&probabilities)[kHopperVisited / 2],
                                   const float (&d_probabilities)[kHopperVisited / 2], Shared& s, int stage) {
  TSUGI_UNROLL
  for (int n = 0; n < kHopperVisited / 8; ++n) {
    const dev::Vector<float, 2> deltas = s.deltas[stage].template load<2>(n * 8 + dev::lane_index() % 4 * 2);
    TSUGI_UNROLL
    for (int i = 0; i < 4; ++i) probabilities[4 * n + i] *= d_probabilities[4 * n + i] - deltas[i % 2];
  }
}

}  // namespace tsugi::cuda
