#include "ops/squared_error/squared_error.h"

#include <cmath>

#include "tests/ops/contrastive_testing.h"

namespace tsugi {
namespace {

constexpr int64_t kErrorRows = 37;
constexpr int64_t kErrorWidth = 9;
constexpr int64_t kTargetRows = 12;

std::vector<int32_t> some_targets() {
  std::vector<int32_t> indices;
  for (int32_t r = 0; r < kErrorRows; ++r) {
    indices.push_back(r % 6 == 4 ? kIgnoreIndex : static_cast<int32_t>(r * 5 % kTargetRows));
  }
  return indices;
}

TEST(SquaredError, MatchesTheReferenceWhateverTheThreads) {
  const std::vector<int32_t> indices = some_targets();
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const bool normalize : {false, true}) {
      std::vector<double> x = testing::random_values(kErrorRows * kErrorWidth, 1);
      std::vector<double> targets = testing::random_values(kTargetRows * kErrorWidth, 2, 3.0);
      Tensor first;
      for (const int threads : {1, 3}) {
        testing::CpuContext cpu(threads);
        const Tensor values = testing::to_tensor(cpu, x, {kErrorRows, kErrorWidth}, type);
        const Tensor wanted = testing::to_tensor(cpu, targets, {kTargetRows, kErrorWidth}, DType::kF32);
        const Tensor d_x = cpu.context.empty({kErrorRows, kErrorWidth}, type);
        const LossSum loss = squared_error(cpu, values, wanted, testing::integers(cpu, indices), normalize, d_x);
        std::vector<double> d_expected(x.size());
        const LossSum expected =
            reference::squared_error(kErrorRows, kErrorWidth, x, targets, indices, normalize, d_expected);
        EXPECT_EQ(loss.count, 31);
        EXPECT_EQ(loss.count, expected.count);
        EXPECT_NEAR(loss.sum, expected.sum, 1e-6 * expected.sum);
        testing::expect_close(d_x, d_expected, type == DType::kF32 ? 1e-6 : 4e-3);
        if (first.defined()) {
          EXPECT_TRUE(testing::same_bits(first, d_x));
        }
        first = d_x;
      }
    }
  }
}

// By hand: (1, 2, 3, 6) has mean 3 and variance 14/3.
TEST(SquaredError, TargetsAreNormalisedByTheUnbiasedVariance) {
  const std::vector<double> zeros(4, 0.0);
  const std::vector<double> target{1.0, 2.0, 3.0, 6.0};
  const std::vector<int32_t> row{0};
  EXPECT_NEAR(reference::squared_error(1, 4, zeros, target, row, false, {}).sum, 12.5, 1e-12);
  EXPECT_NEAR(reference::squared_error(1, 4, zeros, target, row, true, {}).sum, 0.75, 1e-6) << "(C - 1)/C";
  const std::vector<double> flat(4, 0.3);
  EXPECT_NEAR(reference::squared_error(1, 4, zeros, flat, row, true, {}).sum, 0.0, 1e-12);
}

TEST(SquaredError, ReferenceGradientIsTheSlope) {
  std::vector<double> x = testing::random_values(kErrorRows * kErrorWidth, 1);
  const std::vector<double> targets = testing::random_values(kTargetRows * kErrorWidth, 2, 3.0);
  const std::vector<int32_t> indices = some_targets();
  std::vector<double> d_x(x.size());
  reference::squared_error(kErrorRows, kErrorWidth, x, targets, indices, true, d_x);
  constexpr double kStep = 1e-5;
  for (size_t i = 0; i < x.size(); i += 7) {
    const double value = x[i];
    x[i] = value + kStep;
    const double above = reference::squared_error(kErrorRows, kErrorWidth, x, targets, indices, true, {}).sum;
    x[i] = value - kStep;
    const double below = reference::squared_error(kErrorRows, kErrorWidth, x, targets, indices, true, {}).sum;
    x[i] = value;
    EXPECT_NEAR((above - below) / (2.0 * kStep), d_x[i], 1e-7) << i;
  }
}

}  // namespace
}  // namespace tsugi
