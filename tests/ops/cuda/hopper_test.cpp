// TMA, mbarriers and wgmma on the emulator: a product that is right, and the bugs that it catches in it.
#include "ops/cuda/hopper.cuh"

#include "ops/matmul/matmul.h"
#include "tests/ops/cuda/gate/hopper_product.cuh"
#include "tests/ops/cuda/testing.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {
namespace {

using ::testing::HasSubstr;

/// a [m, k] · b [k, n] through the kernel; values are small integers, so that the result is exact.
template <bool TransposedB, Omit Without, bool TransposedA = false>
void expect_product(int m, int n, int k) {
  std::vector<double> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n)),
      expected(static_cast<size_t>(m * n));
  std::vector<bf16> a_bf16, b_bf16;
  for (size_t i = 0; i < a.size(); ++i)
    a_bf16.push_back(bf16(static_cast<float>(a[i] = static_cast<double>(i * 7 % 5) - 2)));
  for (size_t i = 0; i < b.size(); ++i)
    b_bf16.push_back(bf16(static_cast<float>(b[i] = static_cast<double>(i * 11 % 7) - 3)));
  reference::matmul(m, n, k, a, TransposedA, b, !TransposedB, expected, false);
  for (double& value : expected) value = static_cast<double>(static_cast<float>(bf16(static_cast<float>(value))));
  const DeviceVector<bf16> da(a_bf16), db(b_bf16);
  DeviceVector<bf16> out(expected.size());
  const auto map = [](const bf16* data, int rows, int columns) {
    return cuda::make_tensor_map(
        {.base = data, .extents = {columns, rows, 1, 1}, .strides = {1, columns, 0, 0}, .box = {kTile, kTile, 1, 1}});
  };
  cuda::Stream stream;
  const auto tiles = [](int x) { return static_cast<unsigned>((x + kTile - 1) / kTile); };
  cuda::launch(stream, multiply<TransposedB, Without, TransposedA>,
               {{tiles(m), tiles(n), 1}, kProductThreads, sizeof(ProductShared)},
               TransposedA ? map(da.data(), k, m) : map(da.data(), m, k),
               TransposedB ? map(db.data(), k, n) : map(db.data(), n, k), map(out.data(), m, n),
               static_cast<int>(tiles(k)));
  std::vector<double> values;
  for (const bf16 value : out.read(stream)) values.push_back(static_cast<double>(static_cast<float>(value)));
  if (values != expected) throw emulated::Fault("a wrong product");
}

TEST(Hopper, MultipliesOverTheRing) {
  for_seeds([] {
    expect_product<false, Omit::kNothing>(64, 64, 320);
    expect_product<true, Omit::kNothing>(64, 64, 320);
    expect_product<true, Omit::kNothing, true>(64, 64, 320);
  });
  expect_product<false, Omit::kNothing>(136, 72, 200);
  expect_product<true, Omit::kNothing>(136, 72, 200);
  expect_product<false, Omit::kNothing, true>(136, 72, 200);
  expect_product<true, Omit::kNothing, true>(136, 72, 200);
}

template <Omit Without>
std::string fault_without() {
  return fault_of([] { expect_product<false, Without>(64, 64, 320); });
}

TEST(SeededBugs, Hopper) {
  EXPECT_THAT(fault_without<Omit::kFullWait>(), HasSubstr("reads"));
  EXPECT_NE(fault_without<Omit::kEmptyWait>(), "");
  EXPECT_NE(fault_without<Omit::kProductWait>(), "");
  EXPECT_THAT(fault_without<Omit::kProxyFence>(), HasSubstr("without a proxy fence"));
  EXPECT_THAT(fault_without<Omit::kSwizzle>(), HasSubstr("a wrong product"));
  EXPECT_THAT(fault_without<Omit::kRegisterFence>(), HasSubstr("without wgmma_fence"));
  EXPECT_THAT(fault_without<Omit::kInitFence>(), HasSubstr("without a proxy fence"));
  EXPECT_NE(fault_without<Omit::kExpectedBytes>(), "");
}

enum class OmitInTurn {
  kNothing,
  kTurn,        ///< a block adds when it comes
  kStoreWait,   ///< the next one may add before this one has
  kSourceWait,  ///< what is added may be overwritten before it was read
  kProxyFence,  ///< what is added is written by ordinary stores and read by a bulk operation
};

constexpr int kSums = 64;
constexpr int kRounds = 12;
struct TurnShared {
  dev::SharedArray<float, kSums> values;
};

/// In every round a block adds to sums of their own, in the order in which blocks drew; the first one stores.
template <OmitInTurn Without>
TSUGI_KERNEL(32, 1)
add_in_turns(float* sums, uint32_t* turns, uint32_t* drawn) {
  auto& s = dev::shared<TurnShared>();
  const int lane = dev::lane_index();
  uint32_t turn = lane == 0 ? dev::atomic_add(drawn, 1) : 0;
  turn = dev::shuffle(turn, 0);
  for (int round = 0; round < kRounds; ++round) {
    for (int i = lane; i < kSums; i += 32) {
      // The sums of these depend on their order.
      s.values[i] = (turn % 2 == 0 ? 16777216.0f : -3.0f) * static_cast<float>(turn + 1) + static_cast<float>(round);
    }
    if constexpr (Without != OmitInTurn::kProxyFence) dev::fence_proxy_async();
    dev::sync_warp();
    if (lane == 0) {
      float* const to = sums + round * kSums;
      if constexpr (Without != OmitInTurn::kTurn) {
        dev::spin_until([&] { return dev::load_acquire(turns + round) == turn; });
      }
      dev::fence_proxy_async_global();
      turn == 0 ? dev::bulk_store(to, s.values.at(0), kSums * 4) : dev::bulk_add(to, s.values.at(0), kSums * 4);
      dev::tma_store_commit();
      dev::tma_store_wait_read<0>();
      if constexpr (Without != OmitInTurn::kStoreWait) dev::tma_store_wait<0>();
      dev::fence_proxy_async_global();
      dev::store_release(turns + round, turn + 1);
      if constexpr (Without == OmitInTurn::kStoreWait) dev::tma_store_wait<0>();
    }
    if constexpr (Without != OmitInTurn::kSourceWait) dev::sync_warp();
  }
}

template <OmitInTurn Without>
void expect_sums() {
  constexpr int kBlocks = 5;
  const DeviceVector<float> sums(kRounds * kSums);
  const DeviceVector<uint32_t> turns(std::vector<uint32_t>(kRounds + 1, 0));
  cuda::Stream stream;
  cuda::launch(stream, add_in_turns<Without>, {{kBlocks, 1, 1}, 32, sizeof(TurnShared)}, sums.data(), turns.data(),
               turns.data() + kRounds);
  std::vector<float> expected;
  for (int round = 0; round < kRounds; ++round) {
    float sum = 0.0f;
    for (int turn = 0; turn < kBlocks; ++turn) {
      sum += (turn % 2 == 0 ? 16777216.0f : -3.0f) * static_cast<float>(turn + 1) + static_cast<float>(round);
    }
    expected.insert(expected.end(), kSums, sum);
  }
  if (sums.read(stream) != expected) throw emulated::Fault("wrong sums");
}

TEST(Hopper, AddsInTurns) {
  for_seeds([] { expect_sums<OmitInTurn::kNothing>(); });
}

TEST(SeededBugs, AddingOutOfTurn) {
  EXPECT_THAT(fault_of([] { expect_sums<OmitInTurn::kTurn>(); }), HasSubstr("wrong sums"));
  EXPECT_THAT(fault_of([] { expect_sums<OmitInTurn::kStoreWait>(); }), HasSubstr("wrong sums"));
  EXPECT_NE(fault_of([] { expect_sums<OmitInTurn::kSourceWait>(); }), "");
  EXPECT_THAT(fault_of([] { expect_sums<OmitInTurn::kProxyFence>(); }), HasSubstr("without a proxy fence"));
}

TEST(SeededBugs, ImpossibleTensorMaps) {
  const DeviceVector<bf16> x(4096);
  cuda::TensorMapOptions good{
      .base = x.data(), .extents = {64, 64, 1, 1}, .strides = {1, 64, 0, 0}, .box = {64, 64, 1, 1}};
  EXPECT_EQ(fault_of([&] { cuda::make_tensor_map(good); }), "");
  const auto fault_with = [&](auto&& change) {
    cuda::TensorMapOptions bad = good;
    change(bad);
    return fault_of([&] { cuda::make_tensor_map(bad); });
  };
  EXPECT_THAT(fault_with([&](auto& o) { o.base = x.data() + 1; }), HasSubstr("16-byte aligned"));
  EXPECT_THAT(fault_with([](auto& o) { o.strides[1] = 60; }), HasSubstr("stride"));
  EXPECT_THAT(fault_with([](auto& o) { o.box[0] = 128; }), HasSubstr("64 elements wide"));
  EXPECT_THAT(fault_with([](auto& o) { o.box[1] = 512; }), HasSubstr("256"));
}

}  // namespace
}  // namespace tsugi::testing
