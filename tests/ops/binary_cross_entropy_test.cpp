#include "ops/binary_cross_entropy/binary_cross_entropy.h"

#include "tests/ops/contrastive_testing.h"

namespace tsugi {
namespace {

TEST(BinaryCrossEntropy, MatchesTheReference) {
  testing::CpuContext cpu(1);
  const std::vector<int32_t> targets{0, 1, kIgnoreIndex, 1, 0, 0, 1};
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<double> x = testing::random_values(7, 3, 4.0);
    const Tensor scores = testing::to_tensor(cpu, x, {7, 1}, type);
    const Tensor d_x = cpu.context.empty({7, 1}, type);
    std::vector<double> expected(7);
    const LossSum sum = binary_cross_entropy(cpu, scores, testing::integers(cpu, targets), 50.0f, d_x);
    const LossSum right = reference::binary_cross_entropy(x, targets, 50.0, expected);
    EXPECT_EQ(sum.count, 6);
    EXPECT_EQ(right.count, 6);
    EXPECT_NEAR(sum.sum, right.sum, 1e-12 * right.sum);
    testing::expect_close(d_x, expected, type == DType::kF32 ? 1e-6 : 4e-3);
  }
}

// 0 knows nothing: ln 2 for each, and its slope; large scores neither overflow nor lose the loss.
TEST(BinaryCrossEntropy, KnownValues) {
  testing::CpuContext cpu(1);
  std::vector<double> x{0.0, 0.0, 200.0, -200.0, 1.0};
  const Tensor scores = testing::to_tensor(cpu, x, {5}, DType::kF32);
  const auto loss = [&](const std::vector<int32_t>& targets) {
    return binary_cross_entropy(cpu, scores, testing::integers(cpu, targets), 1.0f, {}).sum;
  };
  const int32_t none = kIgnoreIndex;
  EXPECT_NEAR(loss({0, 1, none, none, none}), 2.0 * std::log(2.0), 1e-12);
  EXPECT_NEAR(loss({none, none, 1, 0, none}), 0.0, 1e-12);
  EXPECT_NEAR(loss({none, none, 0, 1, none}), 400.0, 1e-9);
  EXPECT_NEAR(loss({none, none, none, none, 0}) - loss({none, none, none, none, 1}), 1.0, 1e-12);
  EXPECT_NEAR(loss({none, none, none, none, 1}), 0.313261687518, 1e-9);
}

TEST(BinaryCrossEntropy, ReferenceGradientIsTheSlope) {
  std::vector<double> x = testing::random_values(5, 8);
  const std::vector<int32_t> targets{1, 0, 0, kIgnoreIndex, 1};
  std::vector<double> d_x(5);
  reference::binary_cross_entropy(x, targets, 2.0, d_x);
  for (size_t i = 0; i < 5; ++i) {
    const double value = x[i];
    x[i] = value + 1e-5;
    const double above = reference::binary_cross_entropy(x, targets, 1.0, {}).sum;
    x[i] = value - 1e-5;
    const double below = reference::binary_cross_entropy(x, targets, 1.0, {}).sum;
    x[i] = value;
    EXPECT_NEAR(2.0 * (above - below) / 2e-5, d_x[i], 1e-8) << i;
  }
}

}  // namespace
}  // namespace tsugi
