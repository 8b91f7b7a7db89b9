#include "ops/score_bounds/score_bounds.h"

#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;

struct NamedBound {
  const char* name;
  ScoreBound kind;
  double published;  ///< of scores lcg(91) + 2·I
};

constexpr NamedBound kBounds[] = {{"dv", ScoreBound::kDonskerVaradhan, 2.114861122508},
                                  {"nwj", ScoreBound::kNwj, 1.922608310707},
                                  {"jsd", ScoreBound::kJsd, 0.462768912014},
                                  {"infonce", ScoreBound::kInfoNce, 1.296786669744}};

std::vector<double> golden_scores() {
  std::vector<double> scores = testing::lcg_values(91, 36);
  for (size_t i = 0; i < 6; ++i) scores[7 * i] += 2.0;
  return scores;
}

TEST(ScoreBounds, ReferenceMatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  for (const NamedBound& bound : kBounds) {
    std::vector<double> d_scores(36);
    const double value = reference::score_bound(bound.kind, 6, golden_scores(), d_scores);
    EXPECT_NEAR(value, bound.published, 6e-13) << bound.name;
    EXPECT_LE(testing::max_difference(d_scores, golden.at(std::string(bound.name) + ".d_scores")), 1e-14);
  }
}

TEST(ScoreBounds, FloatMatchesTheReference) {
  for (const NamedBound& bound : kBounds) {
    for (const int64_t n : {2, 3, 6, 65}) {
      CpuContext cpu(2);
      std::vector<double> values = testing::random_values(n * n, 5, 3.0);
      const Tensor scores = testing::to_tensor(cpu, values, {n, n}, DType::kF32);
      const Tensor d_scores = cpu.context.empty({n, n}, DType::kF32);
      std::vector<double> expected(values.size());
      const double value = reference::score_bound(bound.kind, n, values, expected);
      EXPECT_NEAR(score_bound(cpu, bound.kind, scores, d_scores), value, 1e-12 * (1.0 + std::abs(value)));
      testing::expect_close(d_scores, expected, 1e-6);
    }
  }
}

TEST(ScoreBounds, LargeScoresDoNotOverflow) {
  CpuContext cpu(1);
  std::vector<double> values(16, 900.0);
  const Tensor scores = testing::to_tensor(cpu, values, {4, 4}, DType::kF32);
  EXPECT_NEAR(score_bound(cpu, ScoreBound::kDonskerVaradhan, scores, {}), 0.0, 1e-12) << "constant scores say nothing";
  EXPECT_NEAR(score_bound(cpu, ScoreBound::kInfoNce, scores, {}), 0.0, 1e-12);
}

// NWJ ≤ Donsker–Varadhan, because ln x ≤ x / e; InfoNCE ≤ ln N.
TEST(ScoreBounds, StandInTheirOrder) {
  CpuContext cpu(1);
  for (uint64_t seed = 1; seed < 40; ++seed) {
    std::vector<double> values = testing::random_values(25, seed, 0.2 * static_cast<double>(seed));
    for (size_t i = 0; i < 5; ++i) values[6 * i] += static_cast<double>(seed);
    const Tensor scores = testing::to_tensor(cpu, values, {5, 5}, DType::kF32);
    EXPECT_LE(score_bound(cpu, ScoreBound::kNwj, scores, {}),
              score_bound(cpu, ScoreBound::kDonskerVaradhan, scores, {}) + 1e-12);
    EXPECT_LE(score_bound(cpu, ScoreBound::kInfoNce, scores, {}), std::log(5.0));
  }
}

TEST(ScoreBounds, TheAverageDividesTheGradientOfTheLogarithm) {
  CpuContext cpu(1);
  std::vector<double> values = golden_scores();
  const Tensor scores = testing::to_tensor(cpu, values, {6, 6}, DType::kF32);
  const Tensor plain = cpu.context.empty({6, 6}, DType::kF32);
  const Tensor averaged = cpu.context.empty({6, 6}, DType::kF32);
  const double bound = score_bound(cpu, ScoreBound::kDonskerVaradhan, scores, plain);

  ScoreAverage average{.decay = 0.9};
  EXPECT_EQ(score_bound(cpu, ScoreBound::kDonskerVaradhan, scores, averaged, &average), bound);
  EXPECT_TRUE(testing::same_bits(plain, averaged)) << "the first batch is the average";
  const double first = average.log_mean;

  std::vector<double> shifted = values;
  for (double& value : shifted) value += 1.0;
  const Tensor next = testing::to_tensor(cpu, shifted, {6, 6}, DType::kF32);
  EXPECT_NEAR(score_bound(cpu, ScoreBound::kDonskerVaradhan, next, averaged, &average), bound, 1e-6);
  EXPECT_NEAR(std::exp(average.log_mean), std::exp(first) * (0.9 + 0.1 * std::exp(1.0)), 1e-6);
  // The batch's mean is e times the first one's: its gradient is larger by e / (0.9 + 0.1·e).
  const double ratio = std::exp(1.0) / (0.9 + 0.1 * std::exp(1.0));
  for (int64_t i = 0; i < 36; ++i) {
    const double expected = static_cast<double>(plain.data<float>()[i]) * (i % 7 == 0 ? 1.0 : ratio);
    EXPECT_NEAR(static_cast<double>(averaged.data<float>()[i]), expected, 1e-6);
  }
}

}  // namespace
}  // namespace tsugi
