#include "tests/ops/top1_testing.h"

namespace tsugi {
namespace {

TEST(Top1, MatchesTheReference) {
  int64_t some = 0;
  for (const int threads : {1, 3}) {
    const testing::CpuContext cpu(threads);
    for (testing::Top1Example& e : testing::top1_examples()) {
      const Tensor scores = testing::to_tensor(cpu, e.scores, {e.rows, e.columns}, DType::kF32);
      const Tensor targets = cpu.context.empty({e.rows}, DType::kI32), right = cpu.context.empty({e.rows}, DType::kI32);
      std::copy(e.targets.begin(), e.targets.end(), targets.data<int32_t>());
      top1(cpu, scores, targets, e.classes, right);
      const std::vector<double> told = testing::to_doubles(right);
      const int64_t expected = reference::top1(e.columns, e.scores, e.targets, e.classes);
      EXPECT_EQ(std::reduce(told.begin(), told.end()), expected);
      some += expected;
    }
  }
  EXPECT_GT(some, 50);
}

TEST(Top1, ByHand) {
  const testing::CpuContext cpu(1);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> values{3, 1, 2, 9, 1, 3, 3, 9, 1, 3, 3, 9, 2, 2, 4, 9, nan, 5, 1, 9, 5, 1, nan, 9};
  const std::vector<int32_t> wanted{0, 1, 2, 3, 1, 0};
  const Tensor scores = testing::to_tensor(cpu, values, {6, 4}, DType::kF32);
  const Tensor targets = cpu.context.empty({6}, DType::kI32), right = cpu.context.empty({6}, DType::kI32);
  std::copy(wanted.begin(), wanted.end(), targets.data<int32_t>());
  top1(cpu, scores, targets, 3, right);
  EXPECT_EQ(testing::to_doubles(right), (std::vector<double>{1, 1, 0, 0, 0, 0}));
}

}  // namespace
}  // namespace tsugi
