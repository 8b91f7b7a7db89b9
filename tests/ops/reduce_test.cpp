#include "ops/reduce/reduce.h"

#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::expect_close;
using testing::max_difference;
using testing::random_values;
using testing::same_bits;
using testing::to_doubles;
using testing::to_tensor;

constexpr int kThreads[] = {1, 2, 3, 4, 8, 16};

struct ReduceSizes {
  int64_t rows, columns;
};
const ReduceSizes kReduceSizes[] = {{1, 1},   {3, 17},    {63, 5},    {64, 64}, {65, 130},
                                    {130, 1}, {200, 768}, {1030, 33}, {7, 5000}};

TEST(ColumnSum, AddsTheReferenceToTheOutput) {
  const CpuContext context(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const ReduceSizes& s : kReduceSizes) {
      SCOPED_TRACE(std::to_string(s.rows) + "x" + std::to_string(s.columns) + name_of(type));
      std::vector<double> x_values = random_values(s.rows * s.columns, 1);
      std::vector<double> expected = random_values(s.columns, 2);
      const Tensor x = to_tensor(context, x_values, {s.rows, s.columns}, type);
      const Tensor out = to_tensor(context, expected, {s.columns}, DType::kF32);
      column_sum(context, x, out);
      reference::column_sum(s.rows, s.columns, x_values, expected);
      EXPECT_LE(max_difference(to_doubles(out), expected), 1e-6 * std::sqrt(static_cast<double>(s.rows)));
    }
  }
}

TEST(ColumnSum, BitsDoNotDependOnTheNumberOfThreads) {
  for (const ReduceSizes& s : {ReduceSizes{1030, 33}, ReduceSizes{200, 768}, ReduceSizes{130, 5000}}) {
    Tensor first;
    for (const int threads : kThreads) {
      const CpuContext context(threads);
      std::vector<double> x_values = random_values(s.rows * s.columns, 1);
      const Tensor x = to_tensor(context, x_values, {s.rows, s.columns}, DType::kF32);
      const Tensor out = context.context.empty({s.columns}, DType::kF32);
      fill_zero(context, out);
      column_sum(context, x, out);
      if (threads == 1) first = out;
      EXPECT_TRUE(same_bits(out, first)) << threads << " threads, " << s.rows << "x" << s.columns;
    }
  }
}

TEST(ColumnSum, IsTheBiasGradientOfPyTorch) {
  const CpuContext context;
  const testing::Golden golden = testing::read_golden("ops_basic.txt");
  std::vector<double> d_y = golden.at("addmm.d_y");
  const Tensor d_bias = context.context.empty({3}, DType::kF32);
  fill_zero(context, d_bias);
  column_sum(context, to_tensor(context, d_y, {5, 3}, DType::kF32), d_bias);
  expect_close(d_bias, golden.at("addmm.d_bias"), 1e-6);
}

TEST(AddInPlace, RoundsEachSumOnce) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const int64_t count : {1, 3, 17, 16384, 40001}) {
        std::vector<double> a_values = random_values(count, 1);
        std::vector<double> b_values = random_values(count, 2);
        const Tensor a = to_tensor(context, a_values, {count}, type);
        const Tensor b = to_tensor(context, b_values, {count}, type);
        add_in_place(context, a, b);
        const std::vector<double> sums = to_doubles(a);
        for (size_t i = 0; i < sums.size(); ++i) {
          const float sum = static_cast<float>(a_values[i]) + static_cast<float>(b_values[i]);
          const float expected = type == DType::kBF16 ? static_cast<float>(bf16(sum)) : sum;
          ASSERT_EQ(sums[i], static_cast<double>(expected)) << i << " of " << count << name_of(type);
        }
      }
    }
  }
}

TEST(FillZero, ClearsEveryByteAndNoOther) {
  const CpuContext context(3);
  for (const int64_t count : {1, 3, 4097, 100001}) {
    std::vector<double> values = random_values(count + 2, 1);
    const Tensor whole = to_tensor(context, values, {count + 2}, DType::kF32);
    fill_zero(context, whole.slice(1, {count}));
    for (int64_t i = 1; i <= count; ++i) ASSERT_EQ(whole.data<float>()[i], 0.0f);
    EXPECT_EQ(static_cast<double>(whole.data<float>()[0]), values.front());
    EXPECT_EQ(static_cast<double>(whole.data<float>()[count + 1]), values.back());
  }
}

TEST(Convert, RoundsToBf16AndBackWithoutLoss) {
  const CpuContext context(3);
  for (const int64_t count : {1, 15, 17, 16385, 50000}) {
    std::vector<double> values = random_values(count, 1, 100.0);
    const Tensor from = to_tensor(context, values, {count}, DType::kF32);
    const Tensor narrow = context.context.empty({count}, DType::kBF16);
    const Tensor wide = context.context.empty({count}, DType::kF32);
    const Tensor copy = context.context.empty({count}, DType::kBF16);
    convert(context, from, narrow);
    convert(context, narrow, wide);
    convert(context, narrow, copy);
    EXPECT_TRUE(same_bits(narrow, copy));
    for (int64_t i = 0; i < count; ++i) {
      ASSERT_EQ(narrow.data<bf16>()[i].bits, bf16(from.data<float>()[i]).bits);
      ASSERT_EQ(wide.data<float>()[i], static_cast<float>(narrow.data<bf16>()[i]));
      ASSERT_NEAR(static_cast<double>(wide.data<float>()[i]), values[static_cast<size_t>(i)],
                  std::fabs(values[static_cast<size_t>(i)]) * 0x1p-8);
    }
  }
}

}  // namespace
}  // namespace tsugi
