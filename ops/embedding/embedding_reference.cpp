#include "ops/embedding/embedding.h"

namespace tsugi::reference {

void embedding_backward(int64_t batch, int64_t length, int64_t width, std::span<const int32_t> tokens,
                        std::span<const double> d_out, std::span<double> d_token_table,
                        std::span<double> d_position_table) {
  CHECK_EQ(static_cast<int64_t>(d_out.size()), batch * length * width);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = 0; t < length; ++t) {
      const int64_t at = b * length + t;
      for (int64_t c = 0; c < width; ++c) {
        const double gradient = d_out[at * width + c];
        d_token_table[tokens[at] * width + c] += gradient;
        d_position_table[t * width + c] += gradient;
      }
    }
  }
}

}  // namespace tsugi::reference
