#include "ops/tensor/profile.h"

#include <gtest/gtest.h>

#include <thread>

#include "ops/cross_entropy/cross_entropy.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

class ProfileTest : public ::testing::Test {
 protected:
  ThreadPool pool_{1};
  HeapMemory memory_;
  Context context_{Device{}, pool_, memory_};

  Tensor zeros(Shape shape, DType type = DType::kF32) const {
    const Tensor tensor = context_.empty(shape, type);
    fill_zero(context_, tensor);
    return tensor;
  }
};

TEST_F(ProfileTest, CountsWhatProductsDo) {
  const Tensor a = zeros({3, 5});
  const Tensor b = zeros({5, 7});
  const Tensor out = zeros({3, 7});
  matmul(context_, a, b, out);  // before anyone asks
  const Profile profile;
  for (int i = 0; i < 4; ++i) matmul(context_, a, b, out);
  matmul(context_, a, b, out, {.accumulate = true});
  ASSERT_EQ(profile.rows().size(), 2u);
  const Profile::Row& row = profile.rows().at("matmul");
  EXPECT_EQ(row.calls, 4);
  EXPECT_EQ(row.flops, 4 * 2.0 * 3 * 5 * 7);
  EXPECT_EQ(row.bytes, 4 * 4.0 * (3 * 5 + 5 * 7 + 3 * 7));
  EXPECT_GT(row.seconds, 0.0);
  EXPECT_EQ(profile.rows().at("matmul, weight gradient").calls, 1);
}

TEST_F(ProfileTest, GivesTimeToTheInnermostOperator) {
  Profile profile;
  {
    const ProfiledOperator outer("outer", 0, {});
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    for (int i = 0; i < 2; ++i) {
      const ProfiledOperator inner("inner", 0, {});
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
    }
  }
  EXPECT_GE(profile.rows().at("inner").seconds, 0.08);
  EXPECT_GE(profile.rows().at("outer").seconds, 0.005);
  EXPECT_LT(profile.rows().at("outer").seconds, 0.08);
}

TEST_F(ProfileTest, IsOfOneThreadAndEnds) {
  {
    const Profile profile;
    std::thread([&] { zeros({2}); }).join();
    EXPECT_TRUE(profile.rows().empty());
    EXPECT_NE(Profile::current(), nullptr);
  }
  EXPECT_EQ(Profile::current(), nullptr);
}

TEST_F(ProfileTest, SeesTheProductsOfTheLoss) {
  const Tensor targets = zeros({4}, DType::kI32);
  const Profile profile;
  linear_cross_entropy(context_, zeros({4, 8}), zeros({16, 8}), targets, 16, Tensor(), Tensor(), Tensor());
  EXPECT_EQ(profile.rows().at("cross-entropy").calls, 1);
  EXPECT_EQ(profile.rows().at("matmul").flops, 2.0 * 4 * 8 * 16);
}

}  // namespace
}  // namespace tsugi
