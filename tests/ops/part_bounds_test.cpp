#include "ops/part_bounds/part_bounds.h"

#include <numbers>

#include "ops/score_bounds/score_bounds.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;

/// Wholes 0 … wholes - 1 and `each` parts of every one, mixed.
struct PartProblem {
  PartProblem(int64_t wholes, int64_t each, int64_t width, PartBound bound, float clip = 0.0f, float penalty = 0.0f)
      : shape{wholes, wholes * each, width, bound, 0.5, static_cast<double>(clip), static_cast<double>(penalty), 1.5},
        w(testing::random_values(wholes * width, 15)),
        p(testing::random_values(wholes * each * width, 16)) {
    for (int64_t i = 0; i < wholes; ++i) whole_ids.push_back(static_cast<int32_t>(i));
    for (int64_t j = 0; j < wholes * each; ++j) part_ids.push_back(static_cast<int32_t>(j % wholes));
  }

  InfoNceSum run_reference(std::span<double> d_w = {}, std::span<double> d_p = {}) const {
    return reference::part_bound(shape, w, p, whole_ids, part_ids, d_w, d_p);
  }

  PartScores tensors(const Context& context) {
    return {testing::to_tensor(context, w, {shape.wholes, shape.width}, DType::kF32),
            testing::to_tensor(context, p, {shape.parts, shape.width}, DType::kF32),
            testing::integers(context, whole_ids),
            testing::integers(context, part_ids),
            shape.parts / shape.wholes,
            shape.bound,
            static_cast<float>(shape.scale),
            static_cast<float>(shape.clip),
            static_cast<float>(shape.penalty),
            static_cast<float>(shape.weight)};
  }

  reference::PartScores shape;
  std::vector<double> w, p;
  std::vector<int32_t> whole_ids, part_ids;
};

struct PartResults {
  InfoNceSum sum;
  Tensor facts, d_wholes, d_parts;
};

PartResults run_parts(const CpuContext& cpu, PartProblem& problem) {
  const PartScores scores = problem.tensors(cpu);
  PartResults r;
  r.facts = cpu.context.empty({problem.shape.wholes, kPartFacts}, DType::kF64);
  r.d_wholes = cpu.context.empty({problem.shape.wholes, problem.shape.width}, DType::kF32);
  r.d_parts = cpu.context.empty({problem.shape.parts, problem.shape.width}, DType::kF32);
  r.sum = part_bound(cpu, scores, r.facts, r.d_wholes);
  part_bound_part_gradient(cpu, scores, r.facts, 0, r.d_parts);
  return r;
}

TEST(PartBounds, FloatMatchesTheReferenceAndThreadsChangeNoBits) {
  CpuContext cpu(1);
  CpuContext more(3);
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    for (const auto& [wholes, each, width, clip] :
         {std::tuple{2, 1, 1, 0.0f}, std::tuple{17, 4, 8, 0.0f}, std::tuple{40, 16, 24, 3.0f}}) {
      PartProblem problem(wholes, each, width, bound, clip, clip > 0.0f ? 0.05f : 0.0f);
      const PartResults r = run_parts(cpu, problem);
      std::vector<double> d_w(problem.w.size());
      std::vector<double> d_p(problem.p.size());
      const InfoNceSum expected = problem.run_reference(d_w, d_p);
      EXPECT_EQ(r.sum.loss.count, wholes);
      EXPECT_EQ(r.sum.nearest, expected.nearest);
      EXPECT_NEAR(r.sum.loss.sum, expected.loss.sum, 2e-6 * (1.0 + std::abs(expected.loss.sum)));
      testing::expect_close(r.d_wholes, d_w, 5e-6);
      testing::expect_close(r.d_parts, d_p, 5e-6);
      const PartResults again = run_parts(more, problem);
      EXPECT_EQ(again.sum.loss.sum, r.sum.loss.sum);
      EXPECT_TRUE(testing::same_bits(again.d_wholes, r.d_wholes));
      EXPECT_TRUE(testing::same_bits(again.d_parts, r.d_parts));
    }
  }
}

TEST(PartBounds, MatchPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  for (const auto& [name, bound, clip, penalty] :
       {std::tuple{"jsd", PartBound::kJsd, 0.0, 0.0}, std::tuple{"nce", PartBound::kInfoNce, 0.0, 0.0},
        std::tuple{"amdim", PartBound::kInfoNce, 2.0, 0.05}}) {
    SCOPED_TRACE(name);
    const reference::PartScores shape{3, 18, 5, bound, 1.0 / std::sqrt(5.0), clip, penalty, 1.0};
    std::vector<int32_t> part_ids;
    for (int32_t j = 0; j < 18; ++j) part_ids.push_back(j / 6);
    std::vector<double> d_w(15);
    std::vector<double> d_p(90);
    const std::string prefix = std::string("parts.") + name;
    const InfoNceSum sum = reference::part_bound(shape, testing::lcg_values(141, 15), testing::lcg_values(142, 90),
                                                 std::vector<int32_t>{0, 1, 2}, part_ids, d_w, d_p);
    EXPECT_NEAR(sum.loss.sum / 3.0, golden.at(prefix + ".loss")[0], 1e-12);
    for (double& value : d_w) value /= 3.0;
    for (double& value : d_p) value /= 3.0;
    EXPECT_LE(testing::max_difference(d_w, golden.at(prefix + ".d_wholes")), 1e-12);
    EXPECT_LE(testing::max_difference(d_p, golden.at(prefix + ".d_parts")), 1e-12);
  }
}

// With one part each it is the bound of a square matrix of scores.
TEST(PartBounds, OnePartEachIsTheBoundOfTheMatrix) {
  PartProblem problem(6, 1, 4, PartBound::kJsd);
  std::vector<double> scores;
  for (size_t i = 0; i < 6; ++i) {
    for (size_t j = 0; j < 6; ++j) {
      double product = 0.0;
      for (size_t c = 0; c < 4; ++c) product += problem.w[4 * i + c] * problem.p[4 * j + c];
      scores.push_back(0.5 * product);
    }
  }
  EXPECT_NEAR(problem.run_reference().loss.sum / 6.0 / 1.5, -reference::score_bound(ScoreBound::kJsd, 6, scores, {}),
              1e-12);
  problem.shape.bound = PartBound::kInfoNce;
  EXPECT_NEAR(problem.run_reference().loss.sum / 6.0 / 1.5,
              std::log(6.0) - reference::score_bound(ScoreBound::kInfoNce, 6, scores, {}), 1e-12);
}

// What knows nothing of its parts says nothing of them: scores of 0.
TEST(PartBounds, KnowNothingOfWhatIsIndependent) {
  CpuContext cpu(1);
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    PartProblem problem(8, 4, 3, bound);
    std::ranges::fill(problem.w, 0.0);
    const double each = bound == PartBound::kJsd ? 0.0 : std::log(1.0 + 28.0);
    EXPECT_NEAR(run_parts(cpu, problem).sum.loss.sum, 1.5 * 8.0 * each, 1e-4);
  }
}

TEST(PartBounds, ReferenceGradientIsTheSlope) {
  for (const PartBound bound : {PartBound::kJsd, PartBound::kInfoNce}) {
    PartProblem problem(4, 3, 3, bound, 2.0f, 0.05f);
    std::vector<double> d_w(problem.w.size());
    std::vector<double> d_p(problem.p.size());
    problem.run_reference(d_w, d_p);
    const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
      for (size_t i = 0; i < values.size(); ++i) {
        const double at = values[i];
        values[i] = at + 1e-6;
        const double above = problem.run_reference().loss.sum;
        values[i] = at - 1e-6;
        const double below = problem.run_reference().loss.sum;
        values[i] = at;
        EXPECT_NEAR((above - below) / 2e-6, gradient[i], 1e-7);
      }
    };
    check(problem.w, d_w);
    check(problem.p, d_p);
  }
}

}  // namespace
}  // namespace tsugi
