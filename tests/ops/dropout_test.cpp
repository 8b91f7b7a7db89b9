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
      int64_t kept = 0;
      for (int64_t i = 0; i < 3 * width; ++i) {
        const uint32_t word = kAloneDropout.stream(i / width).word(static_cast<uint64_t>(i % width));
        const bool drops = static_cast<double>(word) < static_cast<double>(kAloneDropout.p) * 0x1p32;
        const double expected = drops ? 0.0 : values[static_cast<size_t>(i)] / (1.0 - 0.3);
        EXPECT_NEAR(actual[static_cast<size_t>(i)], expected,
                    (type == DType::kF32 ? 1e-6 : 0x1p-8) * std::fabs(expected));
        kept += !drops;
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
