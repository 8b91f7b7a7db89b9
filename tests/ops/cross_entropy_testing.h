// A cross-entropy problem of the tests: inputs, outputs and their exact values.
#pragma once

#include <limits>

#include "ops/cross_entropy/cross_entropy.h"
#include "tests/ops/testing.h"

namespace tsugi::testing {

struct LossSizes {
  int64_t rows, width, vocabulary, padded;
};

/// Inputs and outputs of one call; padding rows of the weight are not zero, so that their use would show.
struct LossProblem {
  LossProblem(const Context& context, LossSizes s, DType type, double scale = 1.0) : sizes(s) {
    hidden_values = random_values(s.rows * s.width, 1, scale);
    weight_values = random_values(s.padded * s.width, 2);
    d_weight_values = random_values(s.padded * s.width, 3);
    hidden = to_tensor(context, hidden_values, {s.rows, s.width}, type);
    weight = to_tensor(context, weight_values, {s.padded, s.width}, type);
    d_weight = to_tensor(context, d_weight_values, {s.padded, s.width}, DType::kF32);
    std::vector<double> garbage(hidden_values.size(), std::numeric_limits<double>::quiet_NaN());
    d_hidden = to_tensor(context, garbage, {s.rows, s.width}, type);
    garbage.resize(static_cast<size_t>(s.rows), garbage[0]);
    row_loss = to_tensor(context, garbage, {s.rows}, DType::kF32);
    targets = context.empty({s.rows}, DType::kI32);
    for (int64_t r = 0; r < s.rows; ++r) {
      const uint32_t word = RandomStream{4, 0, 0}.word(static_cast<uint64_t>(r));
      targets.data<int32_t>()[r] = word % 5 == 0 ? kIgnoreIndex : static_cast<int32_t>(word % s.vocabulary);
    }
  }

  LossSum run(const Context& context) {
    return linear_cross_entropy(context, hidden, weight, targets, sizes.vocabulary, row_loss, d_hidden, d_weight,
                                options);
  }
  std::span<const int32_t> target_span() const {
    return {targets.data<int32_t>(), static_cast<size_t>(targets.elements())};
  }
  /// The double result; gradients go to d_hidden_values and d_weight_values.
  LossSum run_reference() {
    d_hidden_values.resize(hidden_values.size());
    return reference::linear_cross_entropy(sizes.rows, sizes.width, sizes.vocabulary, hidden_values, weight_values,
                                           target_span(), d_hidden_values, d_weight_values, options);
  }

  LossSizes sizes;
  CrossEntropyOptions options;
  std::vector<double> hidden_values, weight_values, d_hidden_values, d_weight_values;
  Tensor hidden, weight, targets, row_loss, d_hidden, d_weight;
};

}  // namespace tsugi::testing
