#include "dist/shard_layout.h"

#include <gtest/gtest.h>

#include <numeric>

#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

TEST(ShardLayout, ShardsPartitionBucketsEvenly) {
  for (const std::vector<int64_t>& ends :
       {std::vector<int64_t>{1}, {7}, {3, 4, 100}, {1, 2, 3, 4, 5}, {1000, 1003, 5000, 5001}}) {
    for (int ranks = 1; ranks <= 9; ++ranks) {
      const ShardLayout layout(ends, ranks);
      EXPECT_EQ(layout.ranks(), ranks);
      EXPECT_EQ(layout.buckets(), static_cast<int>(ends.size()));
      EXPECT_EQ(layout.chunks(), ends.back());
      std::vector<int64_t> local(static_cast<size_t>(ranks), 0);
      int64_t next = 0;
      for (int bucket = 0; bucket < layout.buckets(); ++bucket) {
        EXPECT_EQ(layout.bucket(bucket).begin, next);
        EXPECT_EQ(layout.bucket(bucket).end, ends[static_cast<size_t>(bucket)]);
        int64_t smallest = layout.chunks();
        int64_t largest = 0;
        for (int rank = 0; rank < ranks; ++rank) {
          const ChunkRange shard = layout.shard(bucket, rank);
          EXPECT_EQ(shard.begin, next);
          EXPECT_EQ(layout.local_offset(bucket, rank), local[static_cast<size_t>(rank)]);
          local[static_cast<size_t>(rank)] += shard.chunks();
          smallest = std::min(smallest, shard.chunks());
          largest = std::max(largest, shard.chunks());
          next = shard.end;
        }
        EXPECT_EQ(next, layout.bucket(bucket).end);
        EXPECT_LE(largest - smallest, 1);
      }
      for (int rank = 0; rank < ranks; ++rank) EXPECT_EQ(layout.local_chunks(rank), local[static_cast<size_t>(rank)]);
      EXPECT_EQ(std::accumulate(local.begin(), local.end(), int64_t{0}), layout.chunks());
    }
  }
}

TEST(ShardLayoutDeathTest, EndsMustAscend) {
  EXPECT_DEATH(ShardLayout({}, 1), "empty");
  EXPECT_DEATH(ShardLayout({3, 3}, 1), "ascend");
  EXPECT_DEATH(ShardLayout({0}, 1), "ascend");
  EXPECT_DEATH(ShardLayout({3}, 2).shard(0, 2), "rank 2 of 2");
  EXPECT_DEATH(ShardLayout({3}, 2).bucket(1), "bucket 1 of 1");
}

TEST(MakeBuckets, SmallUnitsJoinAndLargeOnesAreSplit) {
  using Ends = std::vector<int64_t>;
  EXPECT_EQ(make_buckets({10, 20, 30, 40}, 10), (Ends{10, 20, 30, 40}));
  EXPECT_EQ(make_buckets({4, 8, 12, 16}, 10), (Ends{12, 16}));  // the last bucket may be small
  EXPECT_EQ(make_buckets({15, 30}, 10), (Ends{15, 30}));        // halves would be too small
  EXPECT_EQ(make_buckets({35}, 10), (Ends{11, 23, 35}));        // as many even parts as are large enough
  EXPECT_EQ(make_buckets({5, 40, 42}, 10), (Ends{10, 20, 30, 40, 42}));
  EXPECT_EQ(make_buckets({3}, 10), (Ends{3}));
  EXPECT_EQ(make_buckets({0, 3, 3, 5}, 1), (Ends{1, 2, 3, 4, 5}));  // a unit may be empty
}

TEST(MakeBuckets, EveryBucketButTheLastIsLargeEnough) {
  const RandomStream random{7, 0, 0};
  uint64_t word = 0;
  const auto below = [&](int64_t bound) { return static_cast<int64_t>(random.word(word++)) % bound; };
  for (int trial = 0; trial < 500; ++trial) {
    std::vector<int64_t> units;
    int64_t end = 0;
    for (int64_t n = 1 + below(12); n > 0; --n) units.push_back(end += 1 + below(50));
    const int64_t minimum = 1 + below(40);
    const std::vector<int64_t> ends = make_buckets(units, minimum);
    ASSERT_EQ(ends.back(), units.back());
    int64_t begin = 0;
    for (size_t i = 0; i + 1 < ends.size(); ++i) {
      EXPECT_GE(ends[i] - begin, minimum);
      EXPECT_LT(ends[i] - begin, 2 * minimum);
      begin = ends[i];
    }
    EXPECT_LT(ends.back() - begin, 2 * minimum);
  }
}

}  // namespace
}  // namespace tsugi
