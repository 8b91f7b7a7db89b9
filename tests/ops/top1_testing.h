// Scores among which some are equal, and targets that are right now and then, for the CPU and for CUDA.
#pragma once

#include <cmath>
#include <limits>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/top1/top1.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

struct Top1Example {
  int64_t rows, columns, classes;
  std::vector<double> scores;
  std::vector<int32_t> targets;
};

inline std::vector<Top1Example> top1_examples() {
  std::vector<Top1Example> examples;
  for (const auto& [rows, columns, classes] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1}, {61, 9, 7}, {44, 300, 300}, {33, 2500, 2061}}) {
    Top1Example e{rows, columns, classes, random_values(rows * columns, 1), {}};
    for (double& score : e.scores) score = std::round(score);
    for (int64_t r = 0; r < rows; ++r) {
      const auto row = e.scores.begin() + r * columns;
      const auto best = std::max_element(row, row + classes);
      const auto equal = std::find(best + 1, row + classes, *best);
      const int64_t choices[] = {best - row, equal - row, r * 7 % classes, best - row,
                                 kIgnoreIndex};  // `equal`: or none
      e.targets.push_back(static_cast<int32_t>(choices[r % 5]));
      if (r % 5 == 3 && r % 2 == 1) row[r % classes] = std::numeric_limits<double>::quiet_NaN();
    }
    examples.push_back(std::move(e));
  }
  return examples;
}

}  // namespace tsugi::testing
