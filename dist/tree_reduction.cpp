#include "dist/tree_reduction.h"

#include <glog/logging.h>

#include <algorithm>
#include <bit>

namespace tsugi {
namespace {

void add_nothing(int, int) {}

}  // namespace

LeafRange leaves_of_rank(int64_t micro_batches, int ranks, int rank) {
  CHECK_GE(micro_batches, 1);
  CHECK(rank >= 0 && rank < ranks) << "rank " << rank << " of " << ranks;
  return {micro_batches * rank / ranks, micro_batches * (rank + 1) / ranks};
}

void TreeCounter::push(TreeNode node, const std::function<void(int left, int right)>& add_right_into_left) {
  CHECK_GE(node.start, 0);
  CHECK(node.size > 0 && std::has_single_bit(static_cast<uint64_t>(node.size)) && node.start % node.size == 0)
      << "[" << node.start << ", +" << node.size << ") is no node of the tree";
  CHECK(nodes_.empty() || nodes_.back().start + nodes_.back().size == node.start)
      << "leaf " << node.start << " does not follow the last one";
  nodes_.push_back(node);
  while (nodes_.size() >= 2) {
    TreeNode& left = nodes_[nodes_.size() - 2];
    const TreeNode& right = nodes_.back();
    if (left.size != right.size || left.start % (2 * left.size) != 0) break;
    add_right_into_left(static_cast<int>(nodes_.size()) - 2, static_cast<int>(nodes_.size()) - 1);
    left.size *= 2;
    nodes_.pop_back();
  }
}

void TreeCounter::finish(const std::function<void(int left, int right)>& add_right_into_left) {
  while (nodes_.size() >= 2) {
    TreeNode& left = nodes_[nodes_.size() - 2];
    add_right_into_left(static_cast<int>(nodes_.size()) - 2, static_cast<int>(nodes_.size()) - 1);
    left.size += nodes_.back().size;
    nodes_.pop_back();
  }
}

std::vector<TreeNode> nodes_of_range(LeafRange range) {
  TreeCounter counter;
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) counter.push({leaf, 1}, add_nothing);
  return counter.nodes();
}

int stack_depth(LeafRange range) {
  TreeCounter counter;
  size_t depth = 0;
  for (int64_t leaf = range.begin; leaf < range.end; ++leaf) {
    depth = std::max(depth, counter.nodes().size() + 1);  // the leaf needs its own slot until it is added up
    counter.push({leaf, 1}, add_nothing);
  }
  return static_cast<int>(depth);
}

}  // namespace tsugi
