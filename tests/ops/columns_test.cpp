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
        const std::vector<double> taken = to_doubles(out);
        const std::vector<double> all = to_doubles(x);
        for (int64_t r = 0; r < c.rows; ++r) {
          for (int64_t i = 0; i < c.width; ++i) {
            ASSERT_EQ(taken[static_cast<size_t>(r * c.width + i)],
                      rounded(0.5 * all[static_cast<size_t>(r * c.columns + c.first + i)], type));
          }
        }
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
        const std::vector<double> added = to_doubles(addend);
        add_to_columns(context, addend, c.first, 2.0f, x);
        const std::vector<double> after = to_doubles(x);
        for (int64_t r = 0; r < c.rows; ++r) {
          for (int64_t i = 0; i < c.columns; ++i) {
            const auto at = static_cast<size_t>(r * c.columns + i);
            const bool inside = i >= c.first && i < c.first + c.width;
            const double plus = inside ? 2.0 * added[static_cast<size_t>(r * c.width + i - c.first)] : 0.0;
            // One rounding in f32 (fused or not), and one to the type.
            ASSERT_NEAR(after[at], before[at] + plus,
                        inside ? (type == DType::kBF16 ? 1.0 / 256 : 2e-7) * (1.0 + std::abs(before[at] + plus)) : 0.0);
          }
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
