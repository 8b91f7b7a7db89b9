// What a block of the forward pass with wgmma keeps in shared memory, which places it takes, and how they are planned.
#pragma once

#include "ops/attention/attention_hopper.cuh"

namespace tsugi::cuda {

inline constexpr int kHopperKeys = 128;  // of a tile
inline constexpr int kHopperStages = 2;
inline constexpr int kHopperPlans = 2;

/// Heads of 64 (D = 64) or up to 128 elements, what is missing read as zeros. Three warpgroups of 160 registers a
/// thread, or two of 232; what is left of 64 Ki is the producer's.
template <int D>
struct HopperSizes {
  static constexpr int kGroups = D == 64 ? 3 : 2;
  static constexpr int kQueries = kGroups * kGroupRows;
  static constexpr int kThreads = (kGroups + 1) * kGroupThreads;
  static constexpr int kConsumerRegisters = D == 64 ? 160 : 232;
  static constexpr int kProducerRegisters = D == 64 ? 32 : 40;
};

/// What is worked out of a place while the one before is computed.
template <int Groups>
struct alignas(16) HopperPlan {
  dev::SharedArray<int, 2 * kGroupRows> rows[Groups];  ///< the keys that they see: first, end
  dev::SharedArray<int, 4> own[Groups];                ///< first and end tile that a group needs, all_first, all_end
  dev::SharedArray<int, 4> place;                      ///< batch, head, query0
  dev::SharedArray<int, 2> tiles;                      ///< first and end that any needs
};

template <int D>
struct HopperShared {
  using Sizes = HopperSizes<D>;
  Panels<kGroupRows, D> q[Sizes::kGroups];
  Panels<kHopperKeys, D> k[kHopperStages];
  Panels<kHopperKeys, D> v[kHopperStages];
  Panels<kGroupRows, D> out[Sizes::kGroups];
  HopperPlan<Sizes::kGroups> plans[kHopperPlans];
  dev::SharedArray<uint64_t, kHopperPlans> plan_full, plan_empty;
  dev::SharedArray<uint64_t, 1> q_full, q_empty;
  dev::SharedArray<uint64_t, kHopperStages> k_full, k_empty, v_full, v_empty;
};

struct HopperForward {
  DeviceAttentionShape shape;
  float* log_sum_exp;
  float scale_log2;  ///< of scores, so that exp2 does
  int query_tiles;
  int works;    ///< tiles of queries of all heads: a place is one of them
  int section;  ///< heads (of all batches) whose tiles go one after another
};

/// Which queries a block works on: sections of heads; in a section the last queries first, since causal ones see most.
struct HopperPlace {
  int batch, head, query0;
};

template <int D>
TSUGI_DEVICE HopperPlace place_of(const HopperForward& p, int work) {
  const int first = work / (p.section * p.query_tiles) * p.section;
  const int left = p.shape.batch * p.shape.heads - first;
  const int heads = left < p.section ? left : p.section;
  const int within = work - first * p.query_tiles;
  const int head = first + within % heads;
  return {head / p.shape.heads, head % p.shape.heads, (p.query_tiles - 1 - within / heads) * HopperSizes<D>::kQueries};
}

/// What a block works on after `places` others.
TSUGI_DEVICE int work_of(int places) {
  return static_cast<int>(dev::block_index().x) + places * static_cast<int>(dev::grid_size().x);
}

/// Plans places, by a warp of its own, so that neither the loads nor the products wait for it.
template <int D>
TSUGI_DEVICE void plan_places(HopperShared<D>& s, const HopperForward& p) {
  using Sizes = HopperSizes<D>;
  for (int places = 0; work_of(places) < p.works; ++places) {
    const HopperPlace place = place_of<D>(p, work_of(places));
    HopperPlan<Sizes::kGroups>& to = s.plans[places % kHopperPlans];
    if (places >= kHopperPlans)
      dev::mbarrier_wait(s.plan_empty.at(places % kHopperPlans), parity_of(places / kHopperPlans - 1));
    if (dev::lane_index() == 0) {
      to.place.store(0, dev::Vector<int, 4>{place.batch, place.head, place.query0, 0});
    }
    for (int group = 0; group < Sizes::kGroups; ++group) {
      TileRange own;
      int query = place.query0 + group * kGroupRows + dev::lane_index();
      for (int row = dev::lane_index(); row < kGroupRows; row += 32, query += 32) {
        const KeyRange keys = keys_of(p.shape, place.batch, query);
        to.rows[group].store(2 * row, dev::Vector<int, 2>{keys.first, keys.end});
        if (query < p.shape.query_tokens) own.add({keys.first, keys.end, keys.first, keys.end});
      }
      own = warp_range(own);
      const TileSpan tiles = tiles_in<kHopperKeys>(own);
      if (dev::lane_index() == 0) {
        to.own[group].store(0, dev::Vector<int, 4>{tiles.begin, tiles.end, own.all_first, own.all_end});
      }
    }
    dev::sync_warp();
    if (dev::lane_index() != 0) continue;
    TileSpan all{0x7FFFFFFF, 0};
    for (int group = 0; group < Sizes::kGroups; ++group) {
      const dev::Vector<int, 2> own = to.own[group].template load<2>(0);
      if (own[0] >= own[1]) continue;
      all = {own[0] < all.begin ? own[0] : all.begin, own[1] > all.end ? own[1] : all.end};
    }
    to.tiles.store(0, dev::Vector<int, 2>{all.begin, all.end});
    dev::mbarrier_arrive(s.plan_full.at(places % kHopperPlans));
  }
}

}  // namespace tsugi::cuda
