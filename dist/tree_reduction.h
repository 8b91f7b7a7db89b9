// The reproducible sum: a binary-counter tree over the M micro-batches of a global batch, the same for any world size.
//
// Leaves 0 … M-1 are added up like a binary counter: two neighbouring nodes of equal size 2^k whose left one starts at
// a multiple of 2^(k+1) become one. What remains at the end (one node per set bit of M) is added from the right: n0 +
// (n1 + (n2 + …)). A rank that holds leaves [a, b) can form the nodes inside its range alone, and whoever receives the
// node lists of all ranks finishes the same tree: the bits depend on M, never on W.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace tsugi {

/// The sum of leaves [start, start + size).
struct TreeNode {
  int64_t start = 0;
  int64_t size = 0;
  bool operator==(const TreeNode&) const = default;
};

/// Leaves of rank `rank`: [M·rank/W, M·(rank+1)/W).
struct LeafRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t leaves() const { return end - begin; }
};
LeafRange leaves_of_rank(int64_t micro_batches, int ranks, int rank);

/// The nodes that remain when the leaves of the range have been added as far as the tree allows, by start.
std::vector<TreeNode> nodes_of_range(LeafRange range);

/// The stack of the counter. It decides which sums to form; the caller's functions form them.
class TreeCounter {
 public:
  /// Pushes a node that starts where the last ended. `add_right_into_left(left_slot, right_slot)` is called for each
  /// sum to form, slots being positions in the stack (the right one is always the last).
  void push(TreeNode node, const std::function<void(int left, int right)>& add_right_into_left);
  /// Adds up what remains, from the right; the result is in slot 0.
  void finish(const std::function<void(int left, int right)>& add_right_into_left);
  const std::vector<TreeNode>& nodes() const { return nodes_; }
  void clear() { nodes_.clear(); }

 private:
  std::vector<TreeNode> nodes_;
};

/// The largest number of nodes (slots) on the stack while the leaves of the range are pushed one by one.
int stack_depth(LeafRange range);

}  // namespace tsugi
