#include "ops/columns/columns.h"

#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

struct ColumnsCase {
  int64_t rows, columns, first, width;
};
const ColumnsCase kCases[] = {{1, 1, 0, 1}, {3, 17, 5, 7}, {64, 96, 32, 64}, {65, 130, 129, 1}, {200, 40, 0, 40}};

double rounded(double value, DType type) {
  return static_cast<double>(type == DType::kBF16 ? static_cast<float>(bf16(static_cast<float>(value)))
                                                  : static_cast<float>(value));
}

TEST(Columns, AreTakenScaled) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const ColumnsCase& c : kCases) {
        std::vector<double> values = random_values(c.rows * c.columns, 3);
        const Tensor x = to_tensor(context, values, {c.rows, c.columns}, type);
        const Tensor out = context.context.empty({c.rows, c.width}, type);
        take_columns(context, x, c.first, 0.5f, out);
        std::vector<double> expected(static_cast<size_t>(out.elements()));
        reference::take_columns(c.rows, c.columns, c.first, c.width, 0.5, to_doubles(x), expected);
        for (double& value : expected) value = rounded(value, type);
        ASSERT_EQ(to_doubles(out), expected);
      }
    }
  }
}

TEST(Columns, AreAddedToAndTheOthersStay) {
  for (const int threads : {1, 3}) {
    const CpuContext context(threads);
    for (const DType type : {DType::kF32, DType::kBF16}) {
      for (const ColumnsCase& c : kCases) {
        std::vector<double> values = random_values(c.rows * c.columns, 3);
        std::vector<double> addends = random_values(c.rows * c.width, 4);
        const Tensor x = to_tensor(context, values, {c.rows, c.columns}, type);
        const Tensor addend = to_tensor(context, addends, {c.rows, c.width}, type);
        const std::vector<double> before = to_doubles(x);
        std::vector<double> expected = before;
        reference::add_to_columns(c.rows, c.columns, c.first, c.width, 2.0, to_doubles(addend), expected);
        add_to_columns(context, addend, c.first, 2.0f, x);
        const std::vector<double> after = to_doubles(x);
        for (size_t i = 0; i < after.size(); ++i) {
          // One rounding in f32 (fused or not), and one to the type; what lies outside keeps its bits.
          const auto column = static_cast<int64_t>(i) % c.columns;
          const bool inside = column >= c.first && column < c.first + c.width;
          ASSERT_NEAR(after[i], expected[i],
                      inside ? (type == DType::kBF16 ? 1.0 / 256 : 2e-7) * (1.0 + std::abs(expected[i])) : 0.0);
          ASSERT_TRUE(inside || expected[i] == before[i]);
        }
      }
    }
  }
}

TEST(ColumnsDeathTest, OutsideTheMatrixAreRefused) {
  const CpuContext context(1);
  const Tensor x = context.context.empty({2, 8}, DType::kF32);
  const Tensor part = context.context.empty({2, 3}, DType::kF32);
  EXPECT_DEATH(take_columns(context, x, 6, 1.0f, part), "columns 6 \\+ 3 of 8");
}

}  // namespace
}  // namespace tsugi
