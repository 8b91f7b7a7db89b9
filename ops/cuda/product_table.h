// Which algorithm forms each product: the fastest of the library's suggestions, timed once.
//
// Choices are part of the numbers: algorithms differ in the order of their sums. So a table of them is kept, by device
// and version of the library, with the run and in its checkpoints (DeviceOperators::choose_algorithms()). As text:
//
//   tsugi products 1
//   device NVIDIA H200, … products by version 130100
//   32768 2304 768 bf16 bf16 nn+bias 0123456789abcdef…     m n k, types of operands and result, form, algorithm
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "ops/cuda/gemm.h"

namespace tsugi::cuda {

/// Seconds that products of this shape take by each of the algorithms.
using ProductTimes =
    std::function<std::vector<double>(const ProductShape& shape, std::span<const ProductAlgorithm> algorithms)>;

/// On the device: with operands that lie in no cache, the median of a few runs that take turns; infinity for an
/// algorithm that the library turns down. Takes the memory of the operands and the result while it runs.
std::vector<double> time_algorithms(Stream& stream, const ProductShape& shape,
                                    std::span<const ProductAlgorithm> algorithms);

/// The first whose time is within 2 % of the shortest: what differs by less is not worth other bits.
size_t choose_algorithm(std::span<const double> seconds);

class ProductTable {
 public:
  /// Such a product will be formed.
  void meet(const ProductShape& shape) { met_.insert(shape); }

  /// Null: not chosen; the library's first suggestion.
  const ProductAlgorithm* find(const ProductShape& shape) const;

  /// Chooses for every product that was met: what `table` says for `device`, as far as the library takes it; where it
  /// says nothing, the fastest by `times`. Returns the table with what was added; what it says of other devices stays.
  /// Empty: nothing is known yet. Then nothing counts as met. Throws Error(kData) that names `origin` and line for a
  /// text that is no table.
  std::string choose(const std::string& device, const std::string& table, const std::string& origin,
                     const ProductTimes& times);

 private:
  std::set<ProductShape> met_;
  std::map<ProductShape, ProductAlgorithm> chosen_;
};

}  // namespace tsugi::cuda
