// Dropout by itself: which elements, by how much, on how many threads.
#include "ops/dropout/dropout.h"

#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;

constexpr Dropout kAloneDropout{.p = 0.3f, .seed = 11, .first_sample = 5, .site = 77};

TEST(DropoutAlone, KeepsTheElementsThatTheStreamSays) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const int64_t width : {1, 7, 1024, 2061}) {
      CpuContext one(1);
      std::vector<double> values = testing::random_values(3 * width, 1);
      const Tensor x = testing::to_tensor(one, values, {3, width}, type);
      const Tensor out = one.context.empty({3, width}, type);
      apply_dropout(one, kAloneDropout, x, out);
      const std::vector<double> actual = testing::to_doubles(out);
      std::vector<double> expected(values.size());
      reference::apply_dropout(kAloneDropout, 3, width, values, expected);
      int64_t kept = 0;
      for (size_t i = 0; i < expected.size(); ++i) {
        EXPECT_NEAR(actual[i], expected[i], (type == DType::kF32 ? 2e-7 : 0x1p-8) * std::fabs(expected[i]));
        kept += expected[i] != 0.0;
      }
      if (width > 1000) {
        EXPECT_NEAR(static_cast<double>(kept) / static_cast<double>(3 * width), 0.7, 0.03);
      }
      for (const int threads : {2, 3}) {
        CpuContext cpu(threads);
        apply_dropout(cpu, kAloneDropout, x, x);  // in place; then dropped twice
        EXPECT_EQ(testing::same_bits(x, out), threads == 2);
      }
    }
  }
}

}  // namespace
}  // namespace tsugi
