#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/testing.h"
#include "tests/ops/top1_testing.h"

namespace tsugi {
namespace {

using CudaTop1 = testing::OnCuda;

TEST_F(CudaTop1, MatchesTheReference) {
  for (testing::Top1Example& e : testing::top1_examples()) {
    const Tensor scores = cuda().upload(e.scores, {e.rows, e.columns}, DType::kF32);
    const int64_t expected = reference::top1(e.columns, e.scores, e.targets, e.classes);
    testing::for_seeds([&] {
      const Tensor right = cuda().context.empty({e.rows}, DType::kI32);
      top1(cuda().context, scores, cuda().integers(e.targets, {e.rows}), e.classes, right);
      const std::vector<double> told = cuda().read(right);
      EXPECT_EQ(std::reduce(told.begin(), told.end()), static_cast<double>(expected));
    });
  }
}

}  // namespace
}  // namespace tsugi
