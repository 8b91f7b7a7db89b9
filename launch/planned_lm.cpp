#include "launch/planned_lm.h"

namespace tsugi {

Batch RandomTokensLm::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch{.tokens = host_integers({count, sequence()}),
              .targets = host_integers({count, sequence()}),
              .positions = {},
              .first_key = {},
              .first_sample = first_sample};
  for (int64_t row = 0; row < count; ++row) {
    const RandomStream stream{0, first_sample + static_cast<uint64_t>(row), 0};
    const auto token = [&](int64_t t) {
      return static_cast<int32_t>(stream.block(static_cast<uint32_t>(t / 4))[static_cast<size_t>(t % 4)] %
                                  static_cast<uint64_t>(vocabulary_));
    };
    for (int64_t t = 0; t < sequence(); ++t) {
      batch.tokens.data<int32_t>()[row * sequence() + t] = token(t);
      batch.targets.data<int32_t>()[row * sequence() + t] = token(t + 1);
    }
  }
  return batch;
}

}  // namespace tsugi
