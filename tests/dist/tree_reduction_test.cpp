#include "dist/tree_reduction.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

namespace tsugi {
namespace {

/// Values whose sum depends on the order of the additions: every sum rounds.
float leaf_value(int64_t leaf) { return static_cast<float>(3.0 + std::sin(static_cast<double>(leaf) * 12.9898 + 1.0)); }

/// The tree as the header words it, by recursion over the canonical intervals instead of a stack.
float sum_of_aligned(int64_t start, int64_t size) {
  if (size == 1) return leaf_value(start);
  return sum_of_aligned(start, size / 2) + sum_of_aligned(start + size / 2, size / 2);
}
float sum_from(int64_t start, int64_t leaves) {
  const auto size = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(leaves)));
  if (size == leaves) return sum_of_aligned(start, size);
  return sum_of_aligned(start, size) + sum_from(start + size, leaves - size);
}

TEST(TreeReduction, SumDoesNotDependOnTheNumberOfRanks) {
  int different_orders = 0;
  for (int64_t m = 1; m <= 20; ++m) {
    const float expected = sum_from(0, m);
    float in_order = 0.0f;
    for (int64_t leaf = 0; leaf < m; ++leaf) in_order += leaf_value(leaf);
    different_orders += in_order != expected;
    for (int ranks = 1; ranks <= m; ++ranks) {
      TreeCounter all;
      std::vector<float> values;
      const auto add = [&](int left, int right) {
        ASSERT_EQ(right, static_cast<int>(values.size()) - 1);
        values[static_cast<size_t>(left)] += values.back();
        values.pop_back();
      };
      for (int rank = 0; rank < ranks; ++rank) {
        const LeafRange range = leaves_of_rank(m, ranks, rank);
        TreeCounter own;
        std::vector<float> partial;
        for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
          partial.push_back(leaf_value(leaf));
          own.push({leaf, 1}, [&](int left, int right) {
            partial[static_cast<size_t>(left)] += partial[static_cast<size_t>(right)];
            partial.pop_back();
          });
        }
        EXPECT_EQ(own.nodes(), nodes_of_range(range));
        ASSERT_EQ(own.nodes().size(), partial.size());
        for (size_t i = 0; i < partial.size(); ++i) {
          values.push_back(partial[i]);
          all.push(own.nodes()[i], add);
        }
      }
      EXPECT_EQ(all.nodes(), nodes_of_range({0, m}));
      all.finish(add);
      ASSERT_EQ(values.size(), 1u);
      EXPECT_EQ(all.nodes(), (std::vector<TreeNode>{{0, m}}));
      EXPECT_EQ(std::bit_cast<uint32_t>(values[0]), std::bit_cast<uint32_t>(expected)) << m << " over " << ranks;
    }
  }
  EXPECT_GT(different_orders, 10) << "the values do not tell orders apart";
}

TEST(TreeReduction, RangesCoverAllLeavesEvenly) {
  for (int64_t m = 1; m <= 40; ++m) {
    for (int ranks = 1; ranks <= 10; ++ranks) {
      int64_t next = 0;
      for (int rank = 0; rank < ranks; ++rank) {
        const LeafRange range = leaves_of_rank(m, ranks, rank);
        EXPECT_EQ(range.begin, next);
        EXPECT_LE(std::abs(range.leaves() * ranks - m), ranks);
        next = range.end;
      }
      EXPECT_EQ(next, m);
    }
  }
}

TEST(TreeReduction, NodesOfUnevenRanges) {
  using Nodes = std::vector<TreeNode>;
  EXPECT_EQ(nodes_of_range({0, 8}), (Nodes{{0, 8}}));
  EXPECT_EQ(nodes_of_range({6, 12}), (Nodes{{6, 2}, {8, 4}}));
  EXPECT_EQ(nodes_of_range({1, 8}), (Nodes{{1, 1}, {2, 2}, {4, 4}}));
  EXPECT_EQ(nodes_of_range({3, 14}), (Nodes{{3, 1}, {4, 4}, {8, 4}, {12, 2}}));
  EXPECT_EQ(nodes_of_range({5, 5}), Nodes{});
}

TEST(TreeReduction, StackDepth) {
  EXPECT_EQ(stack_depth({0, 0}), 0);
  EXPECT_EQ(stack_depth({7, 8}), 1);
  EXPECT_EQ(stack_depth({0, 2}), 2);
  EXPECT_EQ(stack_depth({0, 3}), 2);
  EXPECT_EQ(stack_depth({0, 8}), 4);
  EXPECT_EQ(stack_depth({0, 9}), 4);
  EXPECT_EQ(stack_depth({1, 4}), 3);  // 1 | 2, 3
  for (int64_t m = 1; m < 300; ++m) {
    EXPECT_EQ(stack_depth({0, m}), std::bit_width(static_cast<uint64_t>(m))) << m;
  }
}

TEST(TreeReductionDeathTest, LeavesMustFollowEachOther) {
  TreeCounter counter;
  const auto nothing = [](int, int) {};
  counter.push({4, 1}, nothing);
  EXPECT_DEATH(counter.push({6, 1}, nothing), "does not follow");
  EXPECT_DEATH(counter.push({5, 2}, nothing), "no node of the tree");
}

}  // namespace
}  // namespace tsugi
