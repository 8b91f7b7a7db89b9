// The table of `bench step --profile` on CUDA: by the device's clock.
#include "ops/tensor/profile.h"

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

class CudaProfile : public testing::OnCuda {
 protected:
  Tensor zeros(Shape shape, DType type = DType::kF32) const {
    const Tensor tensor = cuda().context.empty(shape, type);
    fill_zero(cuda().context, tensor);
    return tensor;
  }
};

TEST_F(CudaProfile, TimesWhatTheDeviceDoes) {
  const Tensor a = zeros({3, 8}), b = zeros({8, 16}), out = zeros({3, 16});
  matmul(cuda().context, a, b, out);  // before anyone asks
  const Profile profile(device());
  const int64_t waits = testing::host_waits();
  for (int i = 0; i < 4; ++i) matmul(cuda().context, a, b, out);
  EXPECT_EQ(testing::host_waits(), waits) << "nobody waits while work is queued";
  ASSERT_EQ(profile.rows().size(), 1u);
  const Profile::Row& row = profile.rows().at("matmul");
  EXPECT_EQ(row.calls, 4);
  EXPECT_EQ(row.flops, 4 * 2.0 * 3 * 8 * 16);
  EXPECT_GT(row.seconds, 0.0);
}

TEST_F(CudaProfile, GivesTimeToTheInnermostOperatorAndNoneToPlans) {
  const Tensor targets = zeros({4}, DType::kI32);
  const Tensor hidden = zeros({4, 8}), weight = zeros({16, 8});
  const Profile profile(device());
  double whole = 0.0;
  {
    const std::unique_ptr<Stopwatch> watch = device()->start_stopwatch();
    linear_cross_entropy(cuda().context, hidden, weight, targets, 16, Tensor(), Tensor(), Tensor());
    watch->stop();
    device()->synchronize();
    whole = watch->seconds();
  }
  const double inner = profile.rows().at("matmul").seconds, outer = profile.rows().at("cross-entropy").seconds;
  EXPECT_EQ(profile.rows().at("matmul").flops, 2.0 * 4 * 8 * 16);
  EXPECT_GT(inner, 0.0);
  EXPECT_GT(outer, 0.0);
  EXPECT_LE(inner + outer, whole);

  ThreadPool pool(1);
  PlanningMemory memory;
  const Context plan(Device{.meta = true, .operators = device()}, pool, memory);
  matmul(plan, plan.empty({3, 8}, DType::kF32), plan.empty({8, 16}, DType::kF32), plan.empty({3, 16}, DType::kF32));
  EXPECT_EQ(profile.rows().at("matmul").calls, 1);
}

}  // namespace
}  // namespace tsugi
