#include "dist/bucket_reducer.h"

#include <gtest/gtest.h>

#include "tests/dist/reducer_steps.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

using testing::assemble;
using testing::CpuContext;
using testing::run_ranks;
using testing::run_step;
using testing::same_bits;
using testing::tree_sum;

const std::vector<int64_t> kBucketEnds{1, 2, 9, 11, 17};  // buckets smaller and larger than the number of ranks

struct Case {
  int64_t micro_batches;
  int ranks;
};
class Reducer : public ::testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(MicroBatchesAndRanks, Reducer,
                         ::testing::Values(Case{12, 1}, Case{12, 2}, Case{12, 3}, Case{12, 4}, Case{12, 5}, Case{12, 6},
                                           Case{1, 1}, Case{8, 2}, Case{7, 1}, Case{7, 3}, Case{2, 3}, Case{1, 2}),
                         [](const auto& param) {
                           std::string name = "M";
                           name += std::to_string(param.param.micro_batches) + "W";
                           return name += std::to_string(param.param.ranks);
                         });

TEST_P(Reducer, TheSumIsTheTreeBitForBit) {
  const auto [micro_batches, ranks] = GetParam();
  const ShardLayout layout(kBucketEnds, ranks);
  run_ranks(ranks, [&, m = micro_batches](Communicator& group) {
    const CpuContext context(1 + group.rank() % 3);
    BucketReducer reducer(context, group, layout, m);
    for (int64_t step = 0; step < 2; ++step) {  // the second step must not see the first one
      const Tensor shard = run_step(reducer, layout.chunks(), step, 2 + step);
      ASSERT_EQ(shard.elements(), layout.local_chunks(group.rank()) * kChunkElements);
      EXPECT_TRUE(same_bits(assemble(group, layout, shard), tree_sum(m, layout.chunks() * kChunkElements, step)))
          << "step " << step << " rank " << group.rank();
    }
    EXPECT_GE(reducer.exposed_seconds(), 0.0);
  });
}

/// Counts what is allocated.
struct CountingMemory : Memory {
  std::shared_ptr<Storage> allocate(size_t size) override {
    bytes += size;
    return memory->allocate(size);
  }
  Memory* memory = nullptr;
  size_t bytes = 0;
};

TEST_P(Reducer, BufferBytesAreExact) {
  const auto [micro_batches, ranks] = GetParam();
  const ShardLayout layout(kBucketEnds, ranks);
  run_ranks(ranks, [&, m = micro_batches](Communicator& group) {
    ThreadPool pool(1);
    HeapMemory heap;
    CountingMemory counting;
    counting.memory = &heap;
    const Context context(Device{}, pool, counting);
    BucketReducer reducer(context, group, layout, m);
    EXPECT_EQ(static_cast<int64_t>(counting.bytes), BucketReducer::buffer_bytes(layout, group.rank(), m));
    run_step(reducer, layout.chunks(), 0, layout.chunks());
    EXPECT_EQ(static_cast<int64_t>(counting.bytes), BucketReducer::buffer_bytes(layout, group.rank(), m));
  });
}

TEST_P(Reducer, MetaTouchesNothing) {
  const auto [micro_batches, ranks] = GetParam();
  const ShardLayout layout(kBucketEnds, ranks);
  run_ranks(ranks, [&, m = micro_batches](Communicator& group) {
    ThreadPool pool(1);
    PlanningMemory planning;
    CountingMemory counting;
    counting.memory = &planning;
    const Context context(Device{.meta = true}, pool, counting);
    BucketReducer reducer(context, group, layout, m);
    for (int64_t leaf = 0; leaf < reducer.leaves().leaves(); ++leaf) {
      EXPECT_EQ(reducer.begin_leaf().elements(), layout.chunks() * kChunkElements);
      reducer.mark_complete(layout.chunks());
      reducer.end_leaf();
    }
    EXPECT_EQ(reducer.finish().elements(), layout.local_chunks(group.rank()) * kChunkElements);
    EXPECT_EQ(static_cast<int64_t>(counting.bytes), BucketReducer::buffer_bytes(layout, group.rank(), m));
  });
}

TEST(BucketReducer, BufferBytesByHand) {
  EXPECT_EQ(BucketReducer::buffer_bytes(ShardLayout({10}, 1), 0, 8), 4 * 10 * kChunkElements * 4);
  // Two aligned halves: three slots for four leaves, and the other rank's only node for half of the chunks.
  EXPECT_EQ(BucketReducer::buffer_bytes(ShardLayout({10}, 2), 1, 8), (3 * 10 + 5) * kChunkElements * 4);
}

/// Notes when exchanges start.
struct CountingCommunicator : PointToPointCommunicator {
  explicit CountingCommunicator(Communicator& g) : group(g) {}
  int rank() const override { return group.rank(); }
  int size() const override { return group.size(); }
  std::unique_ptr<Pending> post(CollectiveId, std::vector<Transfer> sends, std::vector<Transfer> receives) override {
    ++posts;
    return group.exchange(std::move(sends), std::move(receives));
  }
  Communicator& group;
  int posts = 0;
};

TEST(BucketReducer, ExchangesStartAsSoonAsABucketOfTheLastLeafIsComplete) {
  const ShardLayout layout({4, 8, 10}, 2);
  run_ranks(2, [&](Communicator& group) {
    CountingCommunicator counting(group);
    const CpuContext context;
    BucketReducer reducer(context, counting, layout, 4);
    for (int leaf = 0; leaf < 2; ++leaf) {
      reducer.begin_leaf();
      EXPECT_EQ(reducer.in_last_leaf(), leaf == 1);
      EXPECT_FALSE(reducer.would_send(0, 3));
      EXPECT_EQ(reducer.would_send(0, 4), leaf == 1);
      EXPECT_FALSE(reducer.would_send(4, 7));
      EXPECT_EQ(reducer.would_send(4, 10), leaf == 1);
      reducer.mark_complete(3);
      EXPECT_EQ(counting.posts, 0);
      reducer.mark_complete(4);
      EXPECT_EQ(counting.posts, leaf == 1 ? 1 : 0);
      reducer.mark_complete(9);
      EXPECT_EQ(counting.posts, leaf == 1 ? 2 : 0);
      reducer.end_leaf();
      EXPECT_EQ(counting.posts, leaf == 1 ? 3 : 0);
    }
    reducer.finish();
    EXPECT_EQ(counting.posts, 3);
  });
}

TEST(BucketReducer, LeavesBeginWithZeros) {
  const CpuContext context(2);
  const auto local = make_local_communicator();
  BucketReducer reducer(context, *local, ShardLayout({5}, 1), 3);
  for (int step = 0; step < 2; ++step) {
    for (int leaf = 0; leaf < 3; ++leaf) {
      const Tensor gradients = reducer.begin_leaf();
      for (int64_t i = 0; i < gradients.elements(); ++i) ASSERT_EQ(gradients.data<float>()[i], 0.0f);
      for (int64_t i = 0; i < gradients.elements(); ++i) gradients.data<float>()[i] = 1.0f;
      reducer.end_leaf();
    }
    const Tensor sum = reducer.finish();
    for (int64_t i = 0; i < sum.elements(); ++i) ASSERT_EQ(sum.data<float>()[i], 3.0f);
  }
}

TEST(BucketReducerDeathTest, CallsOutOfOrderAreBugs) {
  const CpuContext context;
  const auto local = make_local_communicator();
  BucketReducer reducer(context, *local, ShardLayout({5}, 1), 2);
  EXPECT_DEATH(reducer.mark_complete(1), "no leaf is open");
  EXPECT_DEATH(reducer.finish(), "0 of 2 leaves");
  reducer.begin_leaf();
  EXPECT_DEATH(reducer.begin_leaf(), "not ended");
  reducer.end_leaf();
  EXPECT_DEATH(reducer.finish(), "1 of 2 leaves");
  EXPECT_DEATH(BucketReducer(context, *local, ShardLayout({5}, 2), 2), "ranks");
}

}  // namespace
}  // namespace tsugi
