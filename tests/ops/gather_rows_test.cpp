#include "ops/gather_rows/gather_rows.h"

#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::random_values;
using testing::to_doubles;
using testing::to_tensor;

struct GatherCase {
  int64_t rows, width;
  std::vector<int32_t> indices;
};

const std::vector<GatherCase>& gather_cases() {
  static const std::vector<GatherCase> cases = {{1, 1, {0}},
                                                {4, 5, {3, 0, 3, 3}},
                                                {7, 130, {6, 5, 4, 3, 2, 1, 0}},
                                                {9, 17, {8, 8, 8, 8, 8, 0, 8, 8, 8, 8, 8, 8}}};
  return cases;
}

Tensor index_tensor(const Context& context, const std::vector<int32_t>& indices) {
  const Tensor tensor = context.empty({std::ssize(indices)}, DType::kI32);
  std::copy(indices.begin(), indices.end(), tensor.data<int32_t>());
  return tensor;
}

TEST(GatherRows, EqualTheReferenceWhateverTheThreads) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const GatherCase& c : gather_cases()) {
      SCOPED_TRACE(std::to_string(c.rows) + "x" + std::to_string(c.width));
      const auto count = static_cast<int64_t>(c.indices.size());
      std::vector<Tensor> results;
      for (const int threads : {1, 3}) {
        const CpuContext context(threads);
        std::vector<double> values = random_values(c.rows * c.width, 1);
        std::vector<double> d_values = random_values(count * c.width, 2);
        const Tensor x = to_tensor(context, values, {c.rows, c.width}, type);
        const Tensor d_out = to_tensor(context, d_values, {count, c.width}, type);
        const Tensor indices = index_tensor(context, c.indices);
        const Tensor out = context.context.empty({count, c.width}, type);
        std::vector<double> sevens(values.size(), 7.0);  // what is there before does not count
        const Tensor d_x = to_tensor(context, sevens, {c.rows, c.width}, type);
        gather_rows(context, x, indices, out);
        gather_rows_backward(context, indices, d_out, d_x);
        std::vector<double> expected(d_values.size());
        reference::gather_rows(c.width, c.indices, values, expected);
        EXPECT_EQ(to_doubles(out), expected);
        std::vector<double> d_expected(values.size());
        reference::gather_rows_backward(c.width, c.indices, d_values, d_expected);
        // Every addition is rounded to the type: at most eleven of them.
        testing::expect_close(d_x, d_expected, type == DType::kBF16 ? 11 * 0x1p-8 : 11 * 0x1p-24);
        results.push_back(out);
        results.push_back(d_x);
      }
      EXPECT_TRUE(testing::same_bits(results[0], results[2]));
      EXPECT_TRUE(testing::same_bits(results[1], results[3]));
    }
  }
}

TEST(GatherRowsDeathTest, OutsideTheMatrixAreRefused) {
  const CpuContext context(1);
  const Tensor x = context.context.empty({2, 3}, DType::kF32);
  const Tensor out = context.context.empty({1, 3}, DType::kF32);
  EXPECT_DEATH(gather_rows(context, x, index_tensor(context, {2}), out), "row 2 of 2");
  EXPECT_DEATH(gather_rows(context, x, index_tensor(context, {-1}), out), "row -1 of 2");
}

}  // namespace
}  // namespace tsugi
