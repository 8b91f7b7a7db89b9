// The device layer of the emulator: that it computes what the instructions compute, and that it catches what is wrong.
#include "ops/cuda/device.cuh"

#include <cmath>
#include <numeric>

#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using cuda::launch;
using cuda::Stream;
using ::testing::AllOf;
using testing::DeviceVector;
using testing::fault_of;
using testing::for_seeds;
using ::testing::HasSubstr;

template <class... P>
void run(void (*kernel)(P...), const LaunchSize& size, std::type_identity_t<P>... arguments) {
  Stream stream;
  launch(stream, kernel, size, arguments...);
  stream.synchronize();
}

TSUGI_KERNEL(64, 1) write_indices(int* out) {
  const Index3 b = dev::block_index();
  const Index3 g = dev::grid_size();
  const int block = static_cast<int>((b.z * g.y + b.y) * g.x + b.x);
  const int i = block * dev::block_threads() + dev::thread_index();
  dev::store(out + i, i);
}

TEST(Device, RunsEveryThreadOfEveryBlockOnce) {
  for_seeds([] {
    DeviceVector<int> out(64 * 2 * 3 * 5);
    run(write_indices, {{2, 3, 5}, 64, 0}, out.data());
    std::vector<int> expected(out.size());
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(out.read(), expected);
  });
}

TSUGI_KERNEL(32, 1) warp_collectives(float* sums, int* shuffled, uint32_t* votes) {
  const int lane = dev::lane_index();
  dev::store(sums + lane, dev::warp_sum(static_cast<float>(lane)));
  dev::store(shuffled + lane, dev::shuffle(lane * 10, (lane + 5) % 32));
  dev::store(votes + lane, dev::ballot(lane % 3 == 0));
}

TEST(Device, WarpCollectives) {
  DeviceVector<float> sums(32);
  DeviceVector<int> shuffled(32);
  DeviceVector<uint32_t> votes(32);
  run(warp_collectives, {{1, 1, 1}, 32, 0}, sums.data(), shuffled.data(), votes.data());
  EXPECT_EQ(sums.read(), std::vector<float>(32, 496.0f));
  for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(shuffled.read()[static_cast<size_t>(lane)], (lane + 5) % 32 * 10);
  EXPECT_EQ(votes.read()[7], 0x49249249u);
}

struct BlockSumShared {
  dev::BlockScratch<float> scratch;
};
TSUGI_KERNEL(256, 1) sum_blocks(const float* x, float* out, float* largest) {
  auto& s = dev::shared<BlockSumShared>();
  const float value = dev::load(x + dev::thread_index());
  const float sum = dev::block_sum(value, s.scratch);
  const float most = dev::block_max(value, s.scratch);
  dev::store(out + dev::thread_index(), sum);
  dev::store(largest + dev::thread_index(), most);
}

TEST(Device, BlockReductions) {
  for_seeds([] {
    std::vector<float> x(96);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) - 200.0f;
    const DeviceVector<float> in(x);
    DeviceVector<float> sum(96), most(96);
    run(sum_blocks, {{1, 1, 1}, 96, sizeof(BlockSumShared)}, in.data(), sum.data(), most.data());
    EXPECT_EQ(sum.read(), std::vector<float>(96, std::accumulate(x.begin(), x.end(), 0.0f)));
    EXPECT_EQ(most.read(), std::vector<float>(96, -105.0f));
  });
}

/// One warp multiplies a [16, 16] by b [8, 16]ᵀ, through swizzle-free shared memory, ldmatrix and mma.
struct TileShared {
  dev::SharedArray<bf16, 16 * 16> a;
  dev::SharedArray<bf16, 16 * 16> b;
};
template <bool TransposedB>
TSUGI_KERNEL(32, 1)
multiply_tile(const bf16* a, const bf16* b, float* out) {
  auto& s = dev::shared<TileShared>();
  const int lane = dev::lane_index();
  const int row = lane / 2;
  const int column = lane % 2 * 8;
  s.a.store(row * 16 + column, dev::load_vector<8>(a + row * 16 + column));
  s.b.store(row * 16 + column, dev::load_vector<8>(b + row * 16 + column));
  dev::sync_warp();
  uint32_t fa[4], fb[4];
  float d[2][4] = {};
  dev::ldmatrix_x4(fa, s.a.at(lane % 16 * 16 + lane / 16 * 8));
  if constexpr (TransposedB) {  // b is [K, N]
    dev::ldmatrix_x4_transposed(fb, s.b.at(lane % 16 * 16 + lane / 16 * 8));
  } else {  // b is [N, K]
    dev::ldmatrix_x4(fb, s.b.at((lane % 8 + lane / 16 * 8) * 16 + lane / 8 % 2 * 8));
  }
  dev::mma_m16n8k16(d[0], fa, fb[0], fb[1]);
  dev::mma_m16n8k16(d[1], fa, fb[2], fb[3]);
  for (int n = 0; n < 2; ++n) {
    for (int i = 0; i < 4; ++i) {
      dev::store(out + (lane / 4 + i / 2 * 8) * 16 + n * 8 + lane % 4 * 2 + i % 2, d[n][i]);
    }
  }
}

TEST(Device, MatrixInstructionsMultiply) {
  std::vector<bf16> a(256), b(256);
  for (size_t i = 0; i < 256; ++i) {
    a[i] = bf16(static_cast<float>(i * 37 % 23) - 11.0f);
    b[i] = bf16(static_cast<float>(i * 53 % 19) - 9.0f);
  }
  const DeviceVector<bf16> da(a), db(b);
  for (const bool transposed : {false, true}) {
    DeviceVector<float> out(256);
    run(transposed ? multiply_tile<true> : multiply_tile<false>, {{1, 1, 1}, 32, sizeof(TileShared)}, da.data(),
        db.data(), out.data());
    const std::vector<float> result = out.read();
    for (size_t m = 0; m < 16; ++m) {
      for (size_t n = 0; n < 16; ++n) {
        float expected = 0.0f;
        for (size_t k = 0; k < 16; ++k) {
          expected +=
              static_cast<float>(a[m * 16 + k]) * static_cast<float>(transposed ? b[k * 16 + n] : b[n * 16 + k]);
        }
        EXPECT_EQ(result[m * 16 + n], expected) << m << " " << n;
      }
    }
  }
}

/// Two buffers filled by cp.async turn by turn; the flags leave out one synchronisation each.
struct PipeShared {
  dev::SharedArray<float, 2 * 256> ring;
};
enum class Omit { kNothing, kWait, kBarrierAfterWait, kBarrierBeforeRefill };
template <Omit Without>
TSUGI_KERNEL(64, 1)
pipeline(const float* x, float* out, int tiles) {
  auto& s = dev::shared<PipeShared>();
  const int thread = dev::thread_index();
  const auto fetch = [&](int tile) {
    if (tile < tiles) {
      dev::copy_async_16(s.ring.at(tile % 2 * 256 + thread * 4), x + tile * 256 + thread * 4, true);
    }
    dev::copy_async_commit();
  };
  fetch(0);
  float sum = 0.0f;
  for (int tile = 0; tile < tiles; ++tile) {
    fetch(tile + 1);
    if constexpr (Without != Omit::kWait) dev::copy_async_wait<1>();
    if constexpr (Without != Omit::kBarrierAfterWait) dev::sync_threads();
    for (int i = 0; i < 4; ++i) sum += s.ring[tile % 2 * 256 + (thread + 33 * i) % 64 * 4 + i];
    if constexpr (Without != Omit::kBarrierBeforeRefill) dev::sync_threads();
  }
  dev::store(out + thread, sum);
}

template <Omit Without>
std::vector<float> run_pipeline() {
  constexpr int kTiles = 5;
  std::vector<float> x(kTiles * 256);
  std::iota(x.begin(), x.end(), 1.0f);
  const DeviceVector<float> in(x);
  DeviceVector<float> out(64);
  run(pipeline<Without>, {{1, 1, 1}, 64, sizeof(PipeShared)}, in.data(), out.data(), kTiles);
  return out.read();
}

TEST(Device, AsynchronousCopiesArrive) {
  for_seeds([] {
    const std::vector<float> sums = run_pipeline<Omit::kNothing>();
    for (int thread = 0; thread < 64; ++thread) {
      float expected = 0.0f;
      for (int tile = 0; tile < 5; ++tile) {
        for (int i = 0; i < 4; ++i) expected += static_cast<float>(tile * 256 + (thread + 33 * i) % 64 * 4 + i + 1);
      }
      EXPECT_EQ(sums[static_cast<size_t>(thread)], expected);
    }
  });
}

TEST(SeededBugs, MissingWaitForACopy) {
  EXPECT_THAT(fault_of(run_pipeline<Omit::kWait>), AllOf(HasSubstr("has not been waited for"), HasSubstr("thread")));
}
TEST(SeededBugs, MissingBarrierAfterACopy) {
  EXPECT_THAT(fault_of(run_pipeline<Omit::kBarrierAfterWait>), HasSubstr("reads"));
}
TEST(SeededBugs, MissingBarrierBeforeABufferIsFilledAgain) {
  EXPECT_THAT(fault_of(run_pipeline<Omit::kBarrierBeforeRefill>), HasSubstr("may still read, with no barrier between"));
}

struct PairShared {
  dev::SharedArray<float, 64> values;
};
template <bool Synchronised>
TSUGI_KERNEL(32, 1)
rotate_in_warp(float* out) {
  auto& s = dev::shared<PairShared>();
  const int lane = dev::lane_index();
  s.values[lane] = static_cast<float>(lane);
  if constexpr (Synchronised) dev::sync_warp();
  dev::store(out + lane, static_cast<float>(s.values[(lane + 1) % 32]));
}

TEST(SeededBugs, MissingWarpBarrier) {
  DeviceVector<float> out(32);
  run(rotate_in_warp<true>, {{1, 1, 1}, 32, sizeof(PairShared)}, out.data());
  EXPECT_EQ(out.read()[31], 0.0f);
  EXPECT_NE(fault_of([&] { run(rotate_in_warp<false>, {{1, 1, 1}, 32, sizeof(PairShared)}, out.data()); }), "");
}

/// Producers hand a value to consumers over named barriers 1 (full) and 2 (empty).
template <bool WaitsForEmpty>
TSUGI_KERNEL(64, 1)
hand_over(float* out, int rounds) {
  auto& s = dev::shared<PairShared>();
  const int lane = dev::lane_index();
  if (dev::warp_index() == 0) {
    for (int round = 0; round < rounds; ++round) {
      if (WaitsForEmpty && round > 0) dev::barrier_sync(2, 64);
      s.values[lane] = static_cast<float>(100 * round + lane);
      dev::barrier_arrive(1, 64);
    }
  } else {
    float sum = 0.0f;
    for (int round = 0; round < rounds; ++round) {
      dev::barrier_sync(1, 64);
      sum += s.values[31 - lane];
      if (round + 1 < rounds) dev::barrier_arrive(2, 64);
    }
    dev::store(out + lane, sum);
  }
}

TEST(Device, NamedBarriersOrderProducersAndConsumers) {
  for_seeds([] {
    DeviceVector<float> out(32);
    run(hand_over<true>, {{1, 1, 1}, 64, sizeof(PairShared)}, out.data(), 3);
    EXPECT_EQ(out.read()[0], 300.0f + 3 * 31.0f);
  });
  DeviceVector<float> out(32);
  EXPECT_NE(fault_of([&] { run(hand_over<false>, {{1, 1, 1}, 64, sizeof(PairShared)}, out.data(), 3); }), "");
}

TSUGI_KERNEL(64, 1) one_warp_leaves(int) {
  if (dev::warp_index() == 0) dev::sync_threads();
}
TSUGI_KERNEL(32, 1) half_a_warp_votes(int) {
  if (dev::lane_index() < 16) dev::ballot(true);
}
TSUGI_KERNEL(32, 1) lanes_part(int) {
  if (dev::lane_index() < 16) {
    dev::sync_warp();
  } else {
    dev::shuffle(1, 0);
  }
}

TEST(SeededBugs, DeadlocksAreReportedWithTheirPlaces) {
  EXPECT_THAT(fault_of([] { run(one_warp_leaves, {{1, 1, 1}, 64, 0}, 0); }),
              AllOf(HasSubstr("deadlock"), HasSubstr("block (0, 0, 0), warp 0: waits at barrier 0, where 32 of 64"),
                    HasSubstr("device_test.cpp"), HasSubstr("warp 1: 32 threads have left")));
  EXPECT_THAT(fault_of([] { run(half_a_warp_votes, {{1, 1, 1}, 32, 0}, 0); }),
              AllOf(HasSubstr("deadlock"), HasSubstr("waits in ballot")));
  EXPECT_THAT(fault_of([] { run(lanes_part, {{1, 1, 1}, 32, 0}, 0); }), HasSubstr("the warp diverges"));
}

/// Every block adds to the sum in its turn, whatever the order in which blocks run.
TSUGI_KERNEL(32, 1) in_turn(uint32_t* turn, float* sum) {
  const unsigned mine = dev::block_index().x;
  dev::spin_until([&] { return dev::load_acquire(turn) >= mine; });
  if (dev::lane_index() == 0) {
    dev::store(sum, dev::load(sum) * 0.5f + static_cast<float>(mine));
    dev::store_release(turn, mine + 1);
  }
}
TSUGI_KERNEL(32, 1) nobodys_turn(uint32_t* turn) {
  dev::spin_until([&] { return dev::load_acquire(turn) == 7; });
}

TEST(Device, BlocksWaitForEachOther) {
  for_seeds([] {
    const DeviceVector<uint32_t> turn(std::vector<uint32_t>{0});
    const DeviceVector<float> sum(std::vector<float>{0.0f});
    run(in_turn, {{9, 1, 1}, 32, 0}, turn.data(), sum.data());
    float expected = 0.0f;
    for (int i = 0; i < 9; ++i) expected = expected * 0.5f + static_cast<float>(i);
    EXPECT_EQ(sum.read()[0], expected);
  });
  const DeviceVector<uint32_t> turn(std::vector<uint32_t>{0});
  EXPECT_THAT(fault_of([&] { run(nobodys_turn, {{2, 1, 1}, 32, 0}, turn.data()); }),
              AllOf(HasSubstr("deadlock"), HasSubstr("spin_until")));
}

TSUGI_KERNEL(32, 1) read_one(const float* x, float* out, int at) { dev::store(out, dev::load(x + at)); }
TSUGI_KERNEL(32, 1) read_four(const float* x, float* out, int at) { dev::store(out, dev::load_vector<4>(x + at)[0]); }
TSUGI_KERNEL(32, 1) read_shared(float* out, int at) { dev::store(out, float(dev::shared<PairShared>().values[at])); }

TEST(SeededBugs, AccessesOutsideMemory) {
  const DeviceVector<float> x(std::vector<float>(10, 1.0f));
  DeviceVector<float> out(1);
  const LaunchSize size{{1, 1, 1}, 32, sizeof(PairShared)};
  EXPECT_EQ(fault_of([&] { run(read_one, size, x.data(), out.data(), 9); }), "");
  EXPECT_THAT(fault_of([&] { run(read_one, size, x.data(), out.data(), 10); }),
              AllOf(HasSubstr("4 bytes at byte 40 of an allocation of 40"), HasSubstr("device_test.cpp")));
  EXPECT_THAT(fault_of([&] { run(read_four, size, x.data(), out.data(), 8); }), HasSubstr("16 bytes at byte 32"));
  EXPECT_THAT(fault_of([&] { run(read_four, size, x.data(), out.data(), 2); }), HasSubstr("not a multiple of 16"));
  EXPECT_THAT(fault_of([&] { run(read_shared, size, out.data(), 64); }), HasSubstr("element 64 of 64"));
  EXPECT_THAT(fault_of([&] { run(read_shared, size, out.data(), 3); }), HasSubstr("reads what nobody has written"));
  EXPECT_THAT(fault_of([&] { run(read_shared, {{1, 1, 1}, 32, 4}, out.data(), 0); }), HasSubstr("the launch gave 4"));
}

TEST(SeededBugs, ImpossibleLaunches) {
  DeviceVector<int> out(1);
  EXPECT_THAT(fault_of([&] { run(write_indices, {{1, 1, 1}, 33, 0}, out.data()); }), HasSubstr("33 threads"));
  EXPECT_THAT(fault_of([&] { run(write_indices, {{1, 1, 1}, 32, 300000}, out.data()); }), HasSubstr("300000 bytes"));
  EXPECT_THAT(fault_of([&] { run(write_indices, {{0, 1, 1}, 32, 0}, out.data()); }), HasSubstr("an empty grid"));
}

}  // namespace
}  // namespace tsugi
