// A product over TMA, mbarriers and wgmma, small and complete: a producer warp, a consumer warpgroup, a ring of two
// stages. `Without` leaves out one thing that it needs.
#pragma once

#include "ops/cuda/hopper.cuh"

namespace tsugi::testing {

enum class Omit {
  kNothing,
  kFullWait,       ///< the consumers read a stage before it has landed
  kEmptyWait,      ///< the producer fills a stage that is still read
  kProductWait,    ///< a stage is given back before the products that read it are executed
  kProxyFence,     ///< the result is written by ordinary stores and read by TMA
  kSwizzle,        ///< the result is written as if the tile were not swizzled
  kRegisterFence,  ///< wgmma without wgmma_fence
  kInitFence,      ///< TMA uses mbarriers whose initialisation it cannot see
  kExpectedBytes,  ///< half of a stage is not announced
};

constexpr int kTile = 64;
constexpr int kStages = 2;
constexpr int kConsumers = 128;
constexpr int kProductThreads = kConsumers + 32;

struct ProductShared {
  dev::SharedArray<bf16, kTile * kTile> a[kStages];
  dev::SharedArray<bf16, kTile * kTile> b[kStages];
  dev::SharedArray<bf16, kTile * kTile> out;
  dev::SharedArray<uint64_t, kStages> full;
  dev::SharedArray<uint64_t, kStages> empty;
};

/// out[64, 64] tiles = a[M, K] · b, where b is [N, K], or [K, N] if TransposedB; a is stored [K, M] if TransposedA.
/// k_tiles = K / 64, rounded up.
template <bool TransposedB, Omit Without, bool TransposedA = false>
TSUGI_KERNEL(kProductThreads, 1)
multiply(TSUGI_GRID_CONSTANT dev::TensorMap a, TSUGI_GRID_CONSTANT dev::TensorMap b,
         TSUGI_GRID_CONSTANT dev::TensorMap out, int k_tiles) {
  auto& s = dev::shared<ProductShared>();
  const int m = static_cast<int>(dev::block_index().x) * kTile;
  const int n = static_cast<int>(dev::block_index().y) * kTile;
  if (dev::thread_index() == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      dev::mbarrier_init(s.full.at(stage), 1);
      dev::mbarrier_init(s.empty.at(stage), kConsumers);
    }
    if constexpr (Without != Omit::kInitFence) dev::fence_mbarrier_init();
  }
  dev::sync_threads();

  if (dev::warp_index() == kConsumers / 32) {
    if (dev::lane_index() == 0) {
      for (int k = 0; k < k_tiles; ++k) {
        const int stage = k % kStages;
        if (Without != Omit::kEmptyWait && k >= kStages) {
          dev::mbarrier_wait(s.empty.at(stage), static_cast<uint32_t>((k / kStages - 1) % 2));
        }
        constexpr int kBytes = kTile * kTile * 2 * (Without == Omit::kExpectedBytes ? 1 : 2);
        dev::mbarrier_arrive_expect(s.full.at(stage), kBytes);
        dev::tma_load(s.a[stage].at(0), a, s.full.at(stage), TransposedA ? m : k * kTile, TransposedA ? k * kTile : m,
                      0, 0);
        dev::tma_load(s.b[stage].at(0), b, s.full.at(stage), TransposedB ? n : k * kTile, TransposedB ? k * kTile : n,
                      0, 0);
      }
    }
    return;
  }

  float d[kTile / 2] = {};
  for (int k = 0; k < k_tiles; ++k) {
    const int stage = k % kStages;
    if constexpr (Without != Omit::kFullWait) {
      dev::mbarrier_wait(s.full.at(stage), static_cast<uint32_t>(k / kStages % 2));
    }
    const uint64_t a_tile = dev::matrix_descriptor(s.a[stage].at(0), 16, 1024);
    const uint64_t b_tile = dev::matrix_descriptor(s.b[stage].at(0), 1024 * 8, 1024);
    if constexpr (Without != Omit::kRegisterFence) dev::wgmma_fence();
    TSUGI_UNROLL
    for (int step = 0; step < kTile / 16; ++step) {
      // Along k: 32 bytes inside a row of 128, or 16 rows of 128 bytes.
      const uint64_t a_step = static_cast<uint64_t>((TransposedA ? step * 16 * 128 : step * 32) >> 4);
      const uint64_t b_step = static_cast<uint64_t>((TransposedB ? step * 16 * 128 : step * 32) >> 4);
      dev::wgmma<kTile, TransposedB, true, TransposedA>(d, a_tile + a_step, b_tile + b_step);
    }
    dev::wgmma_commit();
    if constexpr (Without != Omit::kProductWait) dev::wgmma_wait<0>();
    dev::mbarrier_arrive(s.empty.at(stage));
  }
  if constexpr (Without == Omit::kProductWait) dev::wgmma_wait<0>();

  const int lane = dev::lane_index();
  TSUGI_UNROLL
  for (int i = 0; i < kTile / 2; i += 2) {
    const int row = dev::warp_index() * 16 + lane / 4 + i / 2 % 2 * 8;
    const int chunk = Without == Omit::kSwizzle ? i / 4 : (i / 4) ^ (row % 8);
    s.out.store(row * kTile + chunk * 8 + lane % 4 * 2,
                dev::Vector<bf16, 2>{dev::to_bf16(d[i]), dev::to_bf16(d[i + 1])});
  }
  if constexpr (Without != Omit::kProxyFence) dev::fence_proxy_async();
  dev::barrier_sync(1, kConsumers);
  if (dev::thread_index() == 0) {
    dev::tma_store(out, s.out.at(0), n, m, 0, 0);
    dev::tma_store_commit();
    dev::tma_store_wait<0>();
  }
}

}  // namespace tsugi::testing
