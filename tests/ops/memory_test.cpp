#include "ops/tensor/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/base/error.h"
#include "ops/tensor/philox.h"
#include "ops/tensor/tensor.h"

namespace tsugi {
namespace {

bool overlap_in_time(const Lifetime& a, const Lifetime& b) { return a.begin < b.end && b.begin < a.end; }

/// Allocates and releases at random, always in the same way for the same seed.
std::vector<Lifetime> random_lifetimes(uint64_t seed, int allocations) {
  const RandomStream stream{.seed = seed};
  PlanningMemory memory;
  std::vector<std::shared_ptr<Storage>> alive;
  for (int i = 0; i < allocations; ++i) {
    const Philox4 words = stream.block(static_cast<uint32_t>(i));
    alive.push_back(memory.allocate(words[0] % 5000));
    while (!alive.empty() && words[1] % 4 != 0 && alive.size() > words[2] % 8) {
      alive.erase(alive.begin() + static_cast<int64_t>(words[3] % alive.size()));
    }
  }
  alive.clear();
  return memory.lifetimes();
}

TEST(HeapMemory, IsAlignedAndWritable) {
  HeapMemory memory;
  for (const size_t bytes : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{100000}}) {
    const std::shared_ptr<Storage> storage = memory.allocate(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(storage->data) % kAlignment, 0u);
    EXPECT_EQ(storage->bytes, bytes);
    for (size_t i = 0; i < bytes; ++i) storage->data[i] = std::byte{1};
  }
}

TEST(PlanningMemory, RecordsLifetimesWithoutAllocating) {
  PlanningMemory memory;
  auto first = memory.allocate(100);
  EXPECT_EQ(first->data, nullptr);
  auto second = memory.allocate(200);
  first.reset();
  auto third = memory.allocate(300);
  const std::vector<Lifetime> lifetimes = memory.lifetimes();
  ASSERT_EQ(lifetimes.size(), 3u);
  EXPECT_EQ(lifetimes[0].bytes, 100u);
  EXPECT_TRUE(overlap_in_time(lifetimes[0], lifetimes[1]));
  EXPECT_FALSE(overlap_in_time(lifetimes[0], lifetimes[2]));
  EXPECT_TRUE(overlap_in_time(lifetimes[1], lifetimes[2])) << "what was not released lives to the end";
}

TEST(PlanArena, ReusesMemoryOfTheDead) {
  const ArenaPlan plan = plan_arena({{1000, 0, 1}, {1000, 2, 3}, {1000, 4, 5}});
  EXPECT_EQ(plan.total_bytes, aligned(1000));
  EXPECT_EQ(plan.live_bytes, aligned(1000));
}

TEST(PlanArena, NeverOverlapsTheLivingAndStaysNearTheLowerBound) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const std::vector<Lifetime> lifetimes = random_lifetimes(seed, 200);
    const ArenaPlan plan = plan_arena(lifetimes);
    ASSERT_EQ(plan.offsets.size(), lifetimes.size());
    size_t end = 0;
    for (size_t i = 0; i < lifetimes.size(); ++i) {
      EXPECT_EQ(plan.sizes[i], lifetimes[i].bytes);
      EXPECT_EQ(plan.offsets[i] % kAlignment, 0u);
      end = std::max(end, plan.offsets[i] + aligned(lifetimes[i].bytes));
      for (size_t j = 0; j < i; ++j) {
        if (!overlap_in_time(lifetimes[i], lifetimes[j])) continue;
        ASSERT_TRUE(plan.offsets[i] + aligned(lifetimes[i].bytes) <= plan.offsets[j] ||
                    plan.offsets[j] + aligned(lifetimes[j].bytes) <= plan.offsets[i])
            << "seed " << seed << ": " << i << " and " << j << " share memory";
      }
    }
    EXPECT_EQ(plan.total_bytes, end);
    EXPECT_GE(plan.total_bytes, plan.live_bytes);
    EXPECT_LE(static_cast<double>(plan.total_bytes), 1.3 * static_cast<double>(plan.live_bytes)) << "seed " << seed;
  }
}

TEST(PlanArena, LiveBytesAreTheLargestSumOfTheLiving) {
  const std::vector<Lifetime> lifetimes = random_lifetimes(42, 100);
  size_t most = 0;
  for (const Lifetime& at : lifetimes) {  // the sum only grows where something begins
    size_t live = 0;
    for (const Lifetime& other : lifetimes) {
      if (other.begin <= at.begin && at.begin < other.end) live += aligned(other.bytes);
    }
    most = std::max(most, live);
  }
  EXPECT_EQ(plan_arena(lifetimes).live_bytes, most);
}

TEST(StaticArena, ReplaysItsPlanStepAfterStep) {
  const auto step = [](Memory& memory, auto&& write) {
    auto a = memory.allocate(1000);
    write(a, std::byte{1});
    auto b = memory.allocate(2000);
    write(b, std::byte{2});
    const std::byte kept = b->data == nullptr ? std::byte{1} : a->data[999];
    a.reset();
    auto c = memory.allocate(900);
    write(c, std::byte{3});
    return kept == std::byte{1} && (b->data == nullptr || b->data[0] == std::byte{2});
  };
  const auto write = [](const std::shared_ptr<Storage>& storage, std::byte value) {
    for (size_t i = 0; storage->data != nullptr && i < storage->bytes; ++i) storage->data[i] = value;
  };
  PlanningMemory planning;
  step(planning, write);
  StaticArena arena(plan_arena(planning.lifetimes()));
  EXPECT_EQ(arena.total_bytes(), aligned(1000) + aligned(2000)) << "the third lies where the first was";
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(step(arena, write));
    arena.restart();
  }
}

TEST(StaticArenaDeathTest, RefusesWhatWasNotPlanned) {
  const ArenaPlan plan = plan_arena({{100, 0, 1}});
  EXPECT_DEATH(
      {
        StaticArena arena(plan);
        arena.allocate(101);
      },
      "differs from the plan");
  EXPECT_DEATH(
      {
        StaticArena arena(plan);
        arena.allocate(100);
        arena.allocate(100);
      },
      "more often than its plan");
  EXPECT_DEATH(
      {
        StaticArena arena(plan);
        const auto alive = arena.allocate(100);
        arena.restart();
      },
      "still alive");
}

TEST(Tensor, ViewsShareTheMemoryOfTheirStorage) {
  HeapMemory memory;
  Tensor tensor(memory.allocate(24 * sizeof(float)), {4, 6}, DType::kF32);
  for (int i = 0; i < 24; ++i) tensor.data<float>()[i] = static_cast<float>(i);
  EXPECT_TRUE(tensor.unique());
  EXPECT_EQ(tensor.shape().rows(), 4);
  EXPECT_EQ(tensor.shape()[-1], 6);
  const Tensor slice = tensor.slice(6, {2, 6});
  EXPECT_FALSE(tensor.unique());
  EXPECT_EQ(slice.data<float>()[0], 6.0f);
  EXPECT_EQ(slice.reshape({3, 4}).data<float>()[11], 17.0f);
  EXPECT_EQ(slice.shape().to_string(), "[2, 6]");
  EXPECT_FALSE(Tensor().defined());
  EXPECT_EQ(Tensor().elements(), 0);
}

TEST(TensorDeathTest, RefusesToReachBeyondItsMemory) {
  HeapMemory memory;
  EXPECT_DEATH(Tensor(memory.allocate(23 * sizeof(float)), {4, 6}, DType::kF32), "Check failed");
  const Tensor tensor(memory.allocate(24 * sizeof(float)), {4, 6}, DType::kF32);
  EXPECT_DEATH(static_cast<void>(tensor.slice(20, {5})), "Check failed");
  EXPECT_DEATH(static_cast<void>(tensor.reshape({5, 5})), "4, 6");
}

class CountingMemory : public Memory {
 public:
  explicit CountingMemory(int64_t most) : most_(most) {}
  std::shared_ptr<Storage> allocate(size_t bytes) override {
    if (live_.use_count() > most_) throw Error(ExitCode::kUsage, "no memory left");
    struct Counted : Storage {
      std::shared_ptr<Storage> memory;
      std::shared_ptr<int> live;
    };
    auto block = std::make_shared<Counted>();
    block->memory = heap_.allocate(bytes);
    block->data = block->memory->data;
    block->bytes = bytes;
    block->live = live_;
    return block;
  }

 private:
  HeapMemory heap_;
  std::shared_ptr<int> live_ = std::make_shared<int>(0);
  int64_t most_;
};

TEST(ReusedMemory, GivesReleasedBlocksAgain) {
  ReusedMemory memory(std::make_unique<CountingMemory>(100));
  std::shared_ptr<Storage> first = memory.allocate(1000);
  std::shared_ptr<Storage> second = memory.allocate(1000);
  const std::byte* const place = first->data;
  EXPECT_NE(second->data, place) << "what lives has its own place";
  first.reset();
  first = memory.allocate(600);
  EXPECT_EQ(first->data, place);
  EXPECT_EQ(first->bytes, 600u);
  first.reset();
  EXPECT_NE(memory.allocate(400)->data, place) << "less than half of it";
  EXPECT_NE(memory.allocate(1001)->data, place);
  EXPECT_EQ(memory.allocate(1000)->data, place);
}

TEST(ReusedMemory, ReturnsBlocksWhereNoneAreLeft) {
  ReusedMemory memory(std::make_unique<CountingMemory>(2));
  std::shared_ptr<Storage> first = memory.allocate(1000);
  std::shared_ptr<Storage> second = memory.allocate(1000);
  EXPECT_THROW(memory.allocate(5000), Error);
  first.reset();
  second.reset();
  EXPECT_EQ(memory.allocate(5000)->bytes, 5000u);
}

}  // namespace
}  // namespace tsugi
