#include <algorithm>

#include "ops/image_tokens/image_tokens.h"

namespace tsugi::reference {

void image_tokens(int64_t batch, int64_t patches, int64_t width, std::span<const double> embedded,
                  std::span<const double> class_token, std::span<const double> positions, std::span<double> out) {
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t <= patches; ++t) {
      for (int64_t c = 0; c < width; ++c) {
        const double value = t == 0 ? class_token[c] : embedded[(b * patches + t - 1) * width + c];
        out[(b * (1 + patches) + t) * width + c] = value + (positions.empty() ? 0.0 : positions[t * width + c]);
      }
    }
  }
}

void mean_of_patches(int64_t batch, int64_t tokens, int64_t width, std::span<const double> x, std::span<double> out) {
  std::fill(out.begin(), out.end(), 0.0);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 1; t < tokens; ++t) {
      for (int64_t c = 0; c < width; ++c) {
        out[b * width + c] += x[(b * tokens + t) * width + c] / static_cast<double>(tokens - 1);
      }
    }
  }
}

}  // namespace tsugi::reference
