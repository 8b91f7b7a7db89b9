#include <algorithm>
#include <cmath>

#include "ops/top1/top1.h"

namespace tsugi::reference {

int64_t top1(int64_t columns, std::span<const double> scores, std::span<const int32_t> targets, int64_t classes) {
  int64_t right = 0;
  for (size_t r = 0; r < targets.size(); ++r) {
    const auto row = scores.subspan(r * static_cast<size_t>(columns), static_cast<size_t>(classes));
    const bool finite = std::ranges::none_of(row, [](double score) { return std::isnan(score); });
    right += finite && std::ranges::max_element(row) - row.begin() == targets[r];
  }
  return right;
}

}  // namespace tsugi::reference
