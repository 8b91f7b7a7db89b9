// Forward attention with wgmma and TMA (sm_90a): a warp that plans, one that loads, two or three consumer warpgroups of
// 64 queries each. With `Overlap`, the product of the next scores runs beside that of the last values, and warpgroups
// take turns at the tensor cores, so that one's exponentials run beside the other's products: Shah et al.,
// "FlashAttention-3" (2024), sections 3.1 (ping-pong) and 3.2 (within a warpgroup).
#include <algorithm>

#include "ops/attention/attention_forward_hopper.cuh"

namespace tsugi::cuda {
namespace {

constexpr int64_t kSectionBytes = int64_t{32} << 20;  // of keys and values, so that they stay in the L2 cache

/// Loads queries once per place, and tiles of keys and values through a ring; by one thread.
template <int D>
TSUGI_DEVICE void produce(HopperShared<D>& s, const HopperForward& p, const dev::TensorMap& q, const dev::TensorMap& k,
                          const dev::TensorMap& v) {
  using Sizes = HopperSizes<D>;
  int tiles = 0;
  for (int places = 0; work_of(places) < p.works; ++places) {
    dev::mbarrier_wait(s.plan_full.at(places % kHopperPlans), parity_of(places / kHopperPlans));
    const dev::Vector<int, 4> place = s.plans[places % kHopperPlans].place.template load<4>(0);
    const dev::Vector<int, 2> span = s.plans[places % kHopperPlans].tiles.template load<2>(0);
    const int batch = place[0];
    dev::mbarrier_arrive(s.plan_empty.at(places % kHopperPlans));
    if (places > 0) dev::mbarrier_wait(s.q_empty.at(0), parity_of(places - 1));
    dev::mbarrier_arrive_expect(s.q_full.at(0), Sizes::kQueries * D * 2);
    for (int group = 0; group < Sizes::kGroups; ++group) {
      load_panels<kGroupRows, D>(s.q[group], q, s.q_full.at(0), place[2] + group * kGroupRows, place[1], batch);
    }
    const int key_head = place[1] / (p.shape.heads / p.shape.key_heads);
    const auto load = [&](const dev::TensorMap& map, Panels<kHopperKeys, D>& to, uint64_t* full, uint64_t* empty,
                          int tile) {
      if (tiles >= kHopperStages) dev::mbarrier_wait(empty, parity_of(tiles / kHopperStages - 1));
      dev::mbarrier_arrive_expect(full, kHopperKeys * D * 2);
      load_panels<kHopperKeys, D>(to, map, full, tile * kHopperKeys, key_head, batch);
    };
    for (int tile = span[0]; tile < span[1]; ++tile, ++tiles) {
      const int stage = tiles % kHopperStages;
      load(k, s.k[stage], s.k_full.at(stage), s.k_empty.at(stage), tile);
      load(v, s.v[stage], s.v_full.at(stage), s.v_empty.at(stage), tile);
    }
  }
}

/// A warpgroup's 64 queries of one head: scores, statistics and results, in registers. Element i of scores is key
/// i / 4·8 + lane % 4·2 + i % 2 and row lane / 4 + 8·(i / 2 % 2) of the warp's 16; of results alike.
template <int D, bool Overlap>
class Consumer {
 public:
  using Sizes = HopperSizes<D>;

  TSUGI_DEVICE Consumer(HopperShared<D>& shared, const HopperForward& parameters)
      : s(shared),
        p(parameters),
        group(dev::warp_index() / 4 - 1),
        lane(dev::lane_index()),
        warp_row(dev::warp_index() % 4 * 16) {}

  TSUGI_DEVICE void run(const dev::TensorMap& out_map) {
    if (Overlap && group == Sizes::kGroups - 1) give_turn();
    for (; work_of(places_) < p.works; ++places_) {
      dev::mbarrier_wait(s.plan_full.at(places_ % kHopperPlans), parity_of(places_ / kHopperPlans));
      const dev::Vector<int, 4> own = plan().own[group].template load<4>(0);
      const dev::Vector<int, 2> all = plan().tiles.template load<2>(0);
      all_first_ = own[2];
      all_end_ = own[3];
      dev::mbarrier_wait(s.q_full.at(0), parity_of(places_));
      clear();
      const bool any = own[0] < own[1];
      for (int tile = all[0]; tile < (any ? own[0] : all[1]); ++tile) skip();
      if (any) {
        attend({own[0], own[1]});
        // From shared memory again, since registers are short.
        const int end = plan().own[group][1];
        const int all_end = plan().tiles[1];
        for (int tile = end; tile < all_end; ++tile) skip();
      } else {
        release_queries();
      }
      finish(out_map);
      dev::sync_warp();
      if (lane == 0) dev::mbarrier_arrive(s.plan_empty.at(places_ % kHopperPlans));
    }
    if (Overlap && group == 0) take_turn();  // the last one, given by the last warpgroup
    if (dev::thread_index() % kGroupThreads == 0) dev::tma_store_wait<0>();
  }

 private:
  HopperShared<D>& s;
  const HopperForward& p;
  const int group, lane, warp_row;
  int places_ = 0, tiles_ = 0;  ///< that this block has gone through
  int all_first_, all_end_;     ///< keys that all of the warpgroup's queries see
  float scores_[kHopperKeys / 2];
  uint32_t weights_[kHopperKeys / 16][4];  ///< of the values: operands of wgmma
  float out_[D / 2];
  float largest_[2], sums_[2], shrink_[2];

  static constexpr int kTurnBarrier = 1;                    // one for each warpgroup
  static constexpr int kGroupBarrier = 1 + Sizes::kGroups;  // one for each warpgroup

  TSUGI_DEVICE HopperPlan<Sizes::kGroups>& plan() { return s.plans[places_ % kHopperPlans]; }
  TSUGI_DEVICE void take_turn() { dev::barrier_sync(kTurnBarrier + group, 2 * kGroupThreads); }
  TSUGI_DEVICE void give_turn() { dev::barrier_arrive(kTurnBarrier + (group + 1) % Sizes::kGroups, 2 * kGroupThreads); }

  TSUGI_DEVICE void clear() {
    TSUGI_UNROLL
    for (int i = 0; i < D / 2; ++i) out_[i] = 0.0f;
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      largest_[h] = -__builtin_huge_valf();
      sums_[h] = 0.0f;
    }
  }

  TSUGI_DEVICE void wait_full(dev::SharedArray<uint64_t, kHopperStages>& full, int tile) {
    dev::mbarrier_wait(full.at(tile % kHopperStages), parity_of(tile / kHopperStages));
  }
  TSUGI_DEVICE void release(dev::SharedArray<uint64_t, kHopperStages>& empty, int tile) {
    if (lane == 0) dev::mbarrier_arrive(empty.at(tile % kHopperStages));
  }

  TSUGI_DEVICE void release_queries() {
    if (lane == 0) dev::mbarrier_arrive(s.q_empty.at(0));
  }

  /// A tile of which none of these queries sees a key.
  TSUGI_DEVICE void skip() {
    if constexpr (Overlap) {
      take_turn();
      give_turn();
    }
    wait_full(s.k_full, tiles_);
    release(s.k_empty, tiles_);
    wait_full(s.v_full, tiles_);
    release(s.v_empty, tiles_);
    ++tiles_;
  }

  /// Starts scores = q · kᵀ.
  TSUGI_DEVICE void multiply_keys(int tile) {
    dev::wgmma_fence();
    start_transposed<kHopperKeys, D>(scores_, s.q[group], s.k[tile % kHopperStages]);
    dev::wgmma_commit();
  }

  /// Starts out += weights · v.
  TSUGI_DEVICE void multiply_values(int tile) {
    dev::wgmma_fence();
    start_accumulating<kHopperKeys, D>(out_, weights_, s.v[tile % kHopperStages]);
    dev::wgmma_commit();
  }

  /// scores → exp2 of their distance from the largest so far; shrink: what earlier results are to be multiplied by.
  TSUGI_DEVICE void soften(int key0) {
    if (key0 < all_first_ || key0 + kHopperKeys > all_end_) {
      TSUGI_UNROLL
      for (int h = 0; h < 2; ++h) {
        const dev::Vector<int, 2> seen = plan().rows[group].template load<2>(2 * (warp_row + lane / 4 + 8 * h));
        // Relative to the first key of this lane, so that the others differ from it by constants.
        const int own = key0 + lane % 4 * 2;
        const int first = seen[0] - own;
        const int end = seen[1] - own;
        TSUGI_UNROLL
        for (int i = 2 * h; i < kHopperKeys / 2; i += 4) {
          TSUGI_UNROLL
          for (int j = i; j < i + 2; ++j) {
            const int key = j / 4 * 8 + j % 2;
            if (key < first || key >= end) scores_[j] = -__builtin_huge_valf();
          }
        }
      }
    }
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      float most = largest_[h];
      TSUGI_UNROLL
      for (int i = 2 * h; i < kHopperKeys / 2; i += 4) {
        most = dev::maximum(most, dev::maximum(scores_[i], scores_[i + 1]));
      }
      most = dev::maximum(most, dev::shuffle_xor(most, 1));
      most = dev::maximum(most, dev::shuffle_xor(most, 2));
      // A row that has seen no key yet: exp2(-inf - 0) = 0 everywhere, and no inf - inf.
      const float shift = most == -__builtin_huge_valf() ? 0.0f : most * p.scale_log2;
      shrink_[h] = dev::exp2(largest_[h] * p.scale_log2 - shift);
      largest_[h] = most;
      sums_[h] *= shrink_[h];
      TSUGI_UNROLL
      for (int i = 2 * h; i < kHopperKeys / 2; i += 4) {
        TSUGI_UNROLL
        for (int j = i; j < i + 2; ++j) {
          scores_[j] = dev::exp2(dev::fma(scores_[j], p.scale_log2, -shift));
          sums_[h] += scores_[j];
        }
      }
    }
  }

  TSUGI_DEVICE void shrink_results() {
    TSUGI_UNROLL
    for (int i = 0; i < D / 2; ++i) out_[i] *= shrink_[i / 2 % 2];
  }

  /// Tiles of which some of these queries see keys; releases the queries after the last product that reads them.
  TSUGI_DEVICE void attend(const TileSpan& mine) {
    if constexpr (Overlap) {
      wait_full(s.k_full, tiles_);
      take_turn();
      multiply_keys(tiles_);
      give_turn();
      dev::wgmma_wait<0>();
      release(s.k_empty, tiles_);
      soften(mine.begin * kHopperKeys);
      pack_operand(weights_, scores_);  // there are no results yet that could shrink
      for (int tile = mine.begin + 1; tile < mine.end; ++tile) {
        const int previous = tiles_++;
        wait_full(s.k_full, tiles_);
        take_turn();
        multiply_keys(tiles_);
        wait_full(s.v_full, previous);
        multiply_values(previous);
        give_turn();
        dev::wgmma_wait<1>();
        release(s.k_empty, tiles_);
        soften(tile * kHopperKeys);
        dev::compute_before_wait(sums_[0] + sums_[1], s.plans[0].tiles.at(0));
        dev::wgmma_wait<0>();
        release(s.v_empty, previous);
        shrink_results();
        pack_operand(weights_, scores_);
      }
      release_queries();
      finish_values();
    } else {
      for (int tile = mine.begin; tile < mine.end; ++tile) {
        wait_full(s.k_full, tiles_);
        multiply_keys(tiles_);
        dev::wgmma_wait<0>();
        release(s.k_empty, tiles_);
        soften(tile * kHopperKeys);
        shrink_results();
        pack_operand(weights_, scores_);
        finish_values();
      }
      release_queries();
    }
  }

  TSUGI_DEVICE void finish_values() {
    wait_full(s.v_full, tiles_);
    multiply_values(tiles_);
    dev::wgmma_wait<0>();
    release(s.v_empty, tiles_);
    ++tiles_;
  }

  /// Results leave through shared memory; what lies beyond the last query or the end of a head is not written.
  TSUGI_DEVICE void finish(const dev::TensorMap& out_map) {
    const dev::Vector<int, 4> place = plan().place.template load<4>(0);
    const int batch = place[0], head = place[1];
    const int query0 = place[2] + group * kGroupRows;
    const bool leader = dev::thread_index() % kGroupThreads == 0;
    if (leader) dev::tma_store_wait<0>();  // those of the last place have been read
    dev::barrier_sync(kGroupBarrier + group, kGroupThreads);
    TSUGI_UNROLL
    for (int h = 0; h < 2; ++h) {
      float sum = sums_[h];
      sum += dev::shuffle_xor(sum, 1);
      sum += dev::shuffle_xor(sum, 2);
      const float inverse = sum > 0.0f ? 1.0f / sum : 0.0f;
      const int row = warp_row + lane / 4 + 8 * h;
      stage_row<D>(s.out[group], row, h, out_, inverse);
      if (lane % 4 == 0 && p.log_sum_exp != nullptr && query0 + row < p.shape.query_tokens) {
        const float value = sum > 0.0f ? largest_[h] * p.shape.scale + dev::log(sum) : __builtin_huge_valf();
        const int64_t first = (static_cast<int64_t>(batch) * p.shape.heads + head) * p.shape.query_tokens;
        dev::store(p.log_sum_exp + first + query0 + row, value);
      }
    }
    dev::fence_proxy_async();
    dev::barrier_sync(kGroupBarrier + group, kGroupThreads);
    if (leader && query0 < p.shape.query_tokens) {
      store_panels<D>(out_map, s.out[group], p.shape.head_dim, query0, head, batch);
      dev::tma_store_commit();
    }
  }
};

template <int D, bool Overlap>
TSUGI_KERNEL(HopperSizes<D>::kThreads, 1)
attend_hopper(HopperForward p, TSUGI_GRID_CONSTANT dev::TensorMap q, TSUGI_GRID_CONSTANT dev::TensorMap k,
              TSUGI_GRID_CONSTANT dev::TensorMap v, TSUGI_GRID_CONSTANT dev::TensorMap out) {
  using Sizes = HopperSizes<D>;
  auto& s = dev::shared<HopperShared<D>>();
  if (dev::thread_index() == 0) {
    constexpr int kConsumerWarps = Sizes::kGroups * 4;
    dev::mbarrier_init(s.q_full.at(0), 1);
    dev::mbarrier_init(s.q_empty.at(0), kConsumerWarps);
    for (int slot = 0; slot < kHopperPlans; ++slot) {
      dev::mbarrier_init(s.plan_full.at(slot), 1);
      dev::mbarrier_init(s.plan_empty.at(slot), kConsumerWarps + 1);
    }
    for (int stage = 0; stage < kHopperStages; ++stage) {
      dev::mbarrier_init(s.k_full.at(stage), 1);
      dev::mbarrier_init(s.v_full.at(stage), 1);
      dev::mbarrier_init(s.k_empty.at(stage), kConsumerWarps);
      dev::mbarrier_init(s.v_empty.at(stage), kConsumerWarps);
    }
    dev::fence_mbarrier_init();
  }
  dev::sync_threads();
  if (dev::warp_index() < 4) {
    dev::release_registers<Sizes::kProducerRegisters>();
    if (dev::warp_index() == 1) plan_places<D>(s, p);
    if (dev::thread_index() == 0) produce<D>(s, p, q, k, v);
  } else {
    dev::claim_registers<Sizes::kConsumerRegisters>();
    Consumer<D, Overlap>(s, p).run(out);
  }
}

template <int D, bool Overlap>
void launch_hopper(Stream& stream, HopperForward p, const DeviceHeads& q, const DeviceHeads& k, const DeviceHeads& v,
                   const DeviceHeads& out) {
  using Sizes = HopperSizes<D>;
  const DeviceAttentionShape& shape = p.shape;
  p.query_tiles = static_cast<int>(tiles_of(shape.query_tokens, Sizes::kQueries));
  // Query heads of a group share their keys and values.
  const int64_t head_bytes = int64_t{shape.key_tokens} * shape.head_dim * 4 * shape.key_heads / shape.heads;
  const int heads = shape.batch * shape.heads;
  p.works = p.query_tiles * heads;
  p.section = static_cast<int>(
      std::clamp(kSectionBytes / std::max<int64_t>(head_bytes, 1), int64_t{1}, static_cast<int64_t>(heads)));
  const LaunchSize size{
      {static_cast<unsigned>(std::min(p.works, multiprocessors())), 1, 1}, Sizes::kThreads, sizeof(HopperShared<D>)};
  launch(stream, attend_hopper<D, Overlap>, size, p, map_of(q, shape, shape.heads, shape.query_tokens, kGroupRows),
         map_of(k, shape, shape.key_heads, shape.key_tokens, kHopperKeys),
         map_of(v, shape, shape.key_heads, shape.key_tokens, kHopperKeys),
         map_of(out, shape, shape.heads, shape.query_tokens, kGroupRows));
}

}  // namespace

void attention_forward_hopper(Stream& stream, const DeviceAttentionShape& shape, const DeviceHeads& q,
                              const DeviceHeads& k, const DeviceHeads& v, bool overlap, bf16* out, float* log_sum_exp) {
  const HopperForward p{shape, log_sum_exp, shape.scale * dev::kLog2E, 0, 0, 0};
  const int64_t row = int64_t{shape.heads} * shape.head_dim;
  const DeviceHeads to{out, shape.query_tokens * row, row, shape.head_dim};
  if (shape.head_dim <= 64) {
    (overlap ? launch_hopper<64, true> : launch_hopper<64, false>)(stream, p, q, k, v, to);
  } else {
    (overlap ? launch_hopper<128, true> : launch_hopper<128, false>)(stream, p, q, k, v, to);
  }
}

}  // namespace tsugi::cuda
