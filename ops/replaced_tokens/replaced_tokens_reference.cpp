#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/replaced_tokens/replaced_tokens.h"

namespace tsugi::reference {

void draw_rows(int64_t columns, std::span<const double> scores, int64_t vocabulary, const TokenDraw& draw,
               int64_t first_row, std::span<int32_t> drawn) {
  for (size_t i = 0; i < drawn.size(); ++i) {
    const int64_t row = first_row + static_cast<int64_t>(i);
    const auto sample = draw.first_sample + static_cast<uint64_t>(row / draw.rows_per_sample);
    const RandomStream stream{draw.seed, sample, draw.site};
    double best = -std::numeric_limits<double>::infinity();
    for (int64_t v = 0; v < vocabulary; ++v) {
      const int64_t word = row % draw.rows_per_sample * columns + v;  // four of them in a block
      const Philox4 words = stream.block(static_cast<uint32_t>(word / 4));
      const auto uniform = static_cast<double>(uniform_open(words[static_cast<size_t>(word % 4)]));
      const double noisy =
          scores[i * static_cast<size_t>(columns) + static_cast<size_t>(v)] - std::log(-std::log(uniform));
      if (noisy > best) drawn[i] = static_cast<int32_t>(v);
      best = std::max(best, noisy);
    }
  }
}

}  // namespace tsugi::reference
