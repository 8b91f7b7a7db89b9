// Losses of objectives and what goes with them against the double reference.
#include <cmath>

#include "ops/binary_cross_entropy/binary_cross_entropy.h"
#include "ops/logit_scale/logit_scale.h"
#include "ops/moving_average/moving_average.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "ops/score_bounds/score_bounds.h"
#include "ops/squared_error/squared_error.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using testing::expect_within_twice;
using testing::random_values;
using testing::rounded;

class CudaLosses : public testing::OnCuda {
 protected:
  Tensor empty(Shape shape, DType type) const { return cuda().context.empty(shape, type); }
};

constexpr DType kLossTypes[] = {DType::kF32, DType::kBF16};

TEST_F(CudaLosses, SquaredErrorMatchesTheReference) {
  for (const auto& [rows, width, target_rows] :
       {std::tuple<int64_t, int64_t, int64_t>{1, 2, 1}, {37, 9, 12}, {13, 48, 20}, {600, 3, 7}}) {
    std::vector<int32_t> indices;
    for (int64_t r = 0; r < rows; ++r) {
      indices.push_back(r % 6 == 4 ? kIgnoreIndex : static_cast<int32_t>(r * 5 % target_rows));
    }
    for (const DType type : kLossTypes) {
      for (const bool normalize : {false, true}) {
        std::vector<double> x = random_values(rows * width, 1), targets = random_values(target_rows * width, 2, 3.0);
        const Tensor values = cuda().upload(x, {rows, width}, type);
        const Tensor wanted = cuda().upload(targets, {target_rows, width}, DType::kF32);
        std::vector<double> d_expected(x.size());
        const LossSum expected = reference::squared_error(rows, width, x, targets, indices, normalize, d_expected);
        std::vector<double> sums;
        testing::for_seeds([&] {
          const Tensor d_x = empty({rows, width}, type);
          const LossSum loss =
              squared_error(cuda().context, values, wanted, cuda().integers(indices, {rows}), normalize, d_x);
          EXPECT_EQ(loss.count, expected.count);
          EXPECT_NEAR(loss.sum, expected.sum, 1e-12 * (1.0 + expected.sum));
          EXPECT_EQ(squared_error(cuda().context, values, wanted, cuda().integers(indices, {rows}), normalize, {}).sum,
                    loss.sum);
          expect_within_twice(cuda().read(d_x), rounded(d_expected, type), d_expected, type);
          sums.push_back(loss.sum);
        });
        for (const double sum : sums) EXPECT_EQ(sum, sums.front());
      }
    }
  }
}

TEST_F(CudaLosses, SquaredErrorShowsIndicesOutOfRange) {
  std::vector<double> x = random_values(6, 1);
  const Tensor values = cuda().upload(x, {2, 3}, DType::kF32);
  for (const int32_t wrong : {2, -2}) {
    EXPECT_TRUE(
        std::isnan(squared_error(cuda().context, values, values, cuda().integers({0, wrong}, {2}), false, {}).sum));
  }
}

TEST_F(CudaLosses, YesOrNoMatchesTheReference) {
  for (const int64_t rows : {1, 7, 600}) {
    std::vector<int32_t> targets;
    for (int64_t r = 0; r < rows; ++r) targets.push_back(static_cast<int32_t>(r * 7 % 3) - 1);
    if (rows == 1) targets = {1};
    for (const DType type : kLossTypes) {
      std::vector<double> x = random_values(rows, 3, 4.0), d_expected(static_cast<size_t>(rows));
      const Tensor scores = cuda().upload(x, {rows, 1}, type), d_x = empty({rows, 1}, type);
      const LossSum expected = reference::binary_cross_entropy(x, targets, 50.0, d_expected);
      const LossSum loss = binary_cross_entropy(cuda().context, scores, cuda().integers(targets, {rows}), 50.0f, d_x);
      EXPECT_EQ(loss.count, expected.count);
      EXPECT_NEAR(loss.sum, expected.sum, 1e-10 * expected.sum);
      expect_within_twice(cuda().read(d_x), rounded(d_expected, type), d_expected, type);
    }
  }
  std::vector<double> far{200.0, -200.0};
  const Tensor scores = cuda().upload(far, {2}, DType::kF32);
  EXPECT_NEAR(binary_cross_entropy(cuda().context, scores, cuda().integers({0, 1}, {2}), 1.0f, {}).sum, 400.0, 1e-9);
  EXPECT_TRUE(std::isnan(binary_cross_entropy(cuda().context, scores, cuda().integers({0, 2}, {2}), 1.0f, {}).sum));
}

TEST_F(CudaLosses, RowsOfLengthOneMatchTheReference) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 2}, {40, 7}, {9, 64}, {3, 129}}) {
    for (const DType type : kLossTypes) {
      std::vector<double> x = random_values(rows * width, 3, 4.0), d_out = random_values(rows * width, 4);
      if (rows > 1) {  // a row of zeros has no direction
        std::fill_n(x.begin(), width, 0.0);
        std::fill_n(d_out.begin(), width, 0.0);
      }
      const Tensor in = cuda().upload(x, {rows, width}, type), d_y = cuda().upload(d_out, {rows, width}, DType::kF32);
      std::vector<double> out(x.size()), d_x(x.size());
      reference::normalize_rows(rows, width, x, out, d_out, d_x);
      testing::for_seeds([&] {
        const Tensor y = empty({rows, width}, DType::kF32), scales = empty({rows}, DType::kF64);
        const Tensor d_in = empty({rows, width}, type);
        normalize_rows(cuda().context, in, y, scales);
        normalize_rows_backward(cuda().context, y, scales, d_y, d_in);
        expect_within_twice(cuda().read(y), rounded(out, DType::kF32), out, DType::kF32);
        expect_within_twice(cuda().read(d_in), rounded(d_x, type), d_x, type);
      });
    }
  }
}

TEST_F(CudaLosses, TheLearntScaleMatchesTheReference) {
  for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{1, 1}, {19, 33}, {40, 8}}) {
    for (const DType type : kLossTypes) {
      for (const double at : {-0.25, 3.5}) {  // below the limit and above
        std::vector<double> a = random_values(rows * width, 1), b = random_values(rows * width, 2);
        std::vector<double> slopes = random_values(2 * rows * width, 3), offset{at}, before{0.5};
        const Tensor t_a = cuda().upload(a, {rows, width}, DType::kF32),
                     t_b = cuda().upload(b, {rows, width}, DType::kF32);
        const Tensor d_out = cuda().upload(slopes, {2 * rows, width}, DType::kF32);
        const Tensor log_scale = cuda().upload(offset, {1}, type), d_offset = cuda().upload(before, {1}, DType::kF32);
        const Tensor out = empty({2 * rows, width}, DType::kF32), d_a = empty({rows, width}, DType::kF32);
        const Tensor d_b = empty({rows, width}, DType::kF32);
        scale_pair(cuda().context, t_a, t_b, 14.0, log_scale, out);
        scale_pair_backward(cuda().context, out, d_out, 14.0, log_scale, d_a, d_b, d_offset);

        std::vector<double> scaled(slopes.size()), da(a.size()), db(b.size());
        reference::scale_pair(a, b, 14.0, offset[0], scaled);
        const double along = reference::scale_pair_backward(scaled, slopes, 14.0, offset[0], da, db);
        for (const auto& [got, expected] : {std::pair{&out, &scaled}, {&d_a, &da}, {&d_b, &db}}) {
          EXPECT_LE(testing::max_difference(cuda().read(*got), *expected), 1e-6 * testing::max_abs(*expected));
        }
        EXPECT_NEAR(cuda().read(d_offset)[0], before[0] + along, 1e-5 * (1.0 + std::abs(along)));
      }
    }
  }
}

TEST_F(CudaLosses, MovingAveragesMatchTheReference) {
  for (const int64_t count : {1, 7, 1030}) {
    std::vector<double> value = random_values(count, 1), average = random_values(count, 2);
    const Tensor q = cuda().upload(value, {count}, DType::kF32), k = cuda().upload(average, {count}, DType::kF32);
    for (const double momentum : {0.99, 0.0, 1.0}) {
      reference::moving_average(momentum, value, average);
      moving_average(cuda().context, momentum, q, k);
      average = rounded(average, DType::kF32);
      EXPECT_LE(testing::max_difference(cuda().read(k), average), 0x1p-24 * testing::max_abs(average));
    }
  }
}

TEST_F(CudaLosses, BoundsOfScoresMatchTheReference) {
  for (const ScoreBound kind :
       {ScoreBound::kDonskerVaradhan, ScoreBound::kNwj, ScoreBound::kJsd, ScoreBound::kInfoNce}) {
    for (const int64_t n : {2, 3, 65, 300}) {
      std::vector<double> values = random_values(n * n, 5, 3.0);
      const Tensor scores = cuda().upload(values, {n, n}, DType::kF32);
      std::vector<double> expected(values.size());
      const double bound = reference::score_bound(kind, n, values, expected);
      std::vector<double> bounds;
      testing::for_seeds([&] {
        const Tensor d_scores = empty({n, n}, DType::kF32);
        bounds.push_back(score_bound(cuda().context, kind, scores, d_scores));
        EXPECT_EQ(score_bound(cuda().context, kind, scores, {}), bounds.back());
        EXPECT_LE(testing::max_difference(cuda().read(d_scores), expected), 1e-6 * testing::max_abs(expected));
      });
      for (const double one : bounds) EXPECT_EQ(one, bounds.front());
      EXPECT_NEAR(bounds.front(), bound, 1e-12 * (1.0 + std::abs(bound)));
    }
  }
}

TEST_F(CudaLosses, TheBoundOfScoresKeepsItsMovingAverage) {
  std::vector<double> values = random_values(36, 5, 3.0);
  testing::CpuContext cpu(1);
  ScoreAverage here, there;
  for (int step = 0; step < 3; ++step) {
    for (double& value : values) value += 0.5;
    std::vector<double> same = values;
    const Tensor d_here = cpu.context.empty({6, 6}, DType::kF32), d_there = empty({6, 6}, DType::kF32);
    const double on_cpu = score_bound(cpu, ScoreBound::kDonskerVaradhan,
                                      testing::to_tensor(cpu, same, {6, 6}, DType::kF32), d_here, &here);
    const double on_device = score_bound(cuda().context, ScoreBound::kDonskerVaradhan,
                                         cuda().upload(values, {6, 6}, DType::kF32), d_there, &there);
    EXPECT_NEAR(on_device, on_cpu, 1e-12);
    EXPECT_NEAR(there.log_mean, here.log_mean, 1e-12);
    EXPECT_LE(testing::max_difference(cuda().read(d_there), testing::to_doubles(d_here)), 1e-7);
  }
}

}  // namespace
}  // namespace tsugi
