#include "ops/triplet/triplet.h"

#include "ops/logit_scale/logit_scale.h"
#include "ops/moving_average/moving_average.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::InfoNceProblem;

struct TripletResults {
  InfoNceSum sum;
  Tensor facts, d_queries, d_keys;
};

TripletResults run_triplets(const CpuContext& cpu, InfoNceProblem& p, TripletForm form, float margin) {
  const Triplets problem{p.tensors(cpu), form, margin};
  TripletResults r;
  r.facts = cpu.context.empty({p.shape.queries, kTripletFacts}, DType::kF64);
  r.d_queries = cpu.context.empty({p.shape.queries, p.shape.width}, DType::kF32);
  r.d_keys = cpu.context.empty({p.shape.keys, p.shape.width}, DType::kF32);
  r.sum = triplet(cpu, problem, r.facts, r.d_queries);
  triplet_key_gradient(cpu, problem, r.facts, 0, r.d_keys);
  return r;
}

InfoNceProblem triplet_problem(int64_t queries, int64_t keys, int64_t width) {
  InfoNceProblem p;
  p.shape = {queries, keys, width, 0.4};
  p.queries = testing::random_values(queries * width, 5, 0.5);
  p.keys = testing::random_values(keys * width, 6, 0.5);
  for (int64_t i = 0; i < queries; ++i) {
    p.positives.push_back(i % 7 == 3 ? kIgnoreIndex : static_cast<int32_t>((5 * i + 1) % keys));
    p.query_groups.push_back(i % 5 == 0 ? kNoGroup : static_cast<int32_t>(i % 4));
  }
  for (int64_t j = 0; j < keys; ++j) p.key_groups.push_back(j % 11 == 2 ? kNoGroup : static_cast<int32_t>(j % 6));
  return p;
}

TEST(Triplet, MatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  CpuContext cpu(1);
  for (const auto& [name, form, temperature] :
       {std::tuple{"margin", TripletForm::kMargin, 0.5}, std::tuple{"logistic", TripletForm::kLogistic, 0.1}}) {
    SCOPED_TRACE(name);
    const std::vector<double> values = testing::lcg_values(131, 40);
    std::vector<double> z(40);
    reference::normalize_rows(8, 5, values, z, {}, {});
    auto p = InfoNceProblem::two_views(z, 4, 5, temperature);
    std::vector<double> d_queries(40);
    std::vector<double> d_keys(40);
    const std::string prefix = std::string("triplet.") + name;
    EXPECT_NEAR(p.run_triplet_reference(form, 0.2, d_queries, d_keys).loss.sum / 8.0, golden.at(prefix + ".loss")[0],
                1e-12);
    for (size_t i = 0; i < 40; ++i) d_queries[i] = (d_queries[i] + d_keys[i]) / 8.0;
    std::vector<double> d_x(40);
    reference::normalize_rows(8, 5, values, z, d_queries, d_x);
    EXPECT_LE(testing::max_difference(d_x, golden.at(prefix + ".d_x")), 1e-12);
    EXPECT_NEAR(run_triplets(cpu, p, form, 0.2f).sum.loss.sum / 8.0, golden.at(prefix + ".loss")[0], 1e-6);
  }
}

TEST(Triplet, OneNegativeIsALogisticLoss) {
  CpuContext cpu(1);
  InfoNceProblem one{{1, 2, 1, 1.0}, {1.0}, {3.0, 2.0}, {0}, {kNoGroup}, {0, 1}};
  EXPECT_NEAR(run_triplets(cpu, one, TripletForm::kLogistic, 0.0f).sum.loss.sum, 0.313261687518, 1e-6);
  EXPECT_EQ(run_triplets(cpu, one, TripletForm::kMargin, 0.5f).sum.loss.sum, 0.0) << "farther than the margin";
  EXPECT_NEAR(run_triplets(cpu, one, TripletForm::kMargin, 1.5f).sum.loss.sum, 0.5, 1e-6);
}

TEST(Triplet, FloatMatchesTheReferenceAndThreadsChangeNoBits) {
  for (const TripletForm form : {TripletForm::kMargin, TripletForm::kLogistic}) {
    for (const auto& [queries, keys, width] : {std::tuple{1, 2, 1}, std::tuple{37, 70, 16}, std::tuple{65, 900, 24}}) {
      InfoNceProblem p = triplet_problem(queries, keys, width);
      CpuContext cpu(1);
      CpuContext more(3);
      const TripletResults r = run_triplets(cpu, p, form, 0.3f);
      std::vector<double> d_queries(p.queries.size());
      std::vector<double> d_keys(p.keys.size());
      const InfoNceSum expected = p.run_triplet_reference(form, static_cast<double>(0.3f), d_queries, d_keys);
      EXPECT_EQ(r.sum.loss.count, expected.loss.count);
      EXPECT_EQ(r.sum.nearest, expected.nearest);
      EXPECT_NEAR(r.sum.loss.sum, expected.loss.sum, 2e-6 * (1.0 + expected.loss.sum));
      testing::expect_close(r.d_queries, d_queries, 5e-6);
      testing::expect_close(r.d_keys, d_keys, 5e-6);
      const TripletResults again = run_triplets(more, p, form, 0.3f);
      EXPECT_EQ(again.sum.loss.sum, r.sum.loss.sum);
      EXPECT_TRUE(testing::same_bits(again.d_keys, r.d_keys));
    }
  }
}

TEST(Triplet, ReferenceGradientIsTheSlopeOfItsLoss) {
  for (const TripletForm form : {TripletForm::kMargin, TripletForm::kLogistic}) {
    InfoNceProblem p = triplet_problem(6, 9, 3);
    std::vector<double> d_queries(p.queries.size());
    std::vector<double> d_keys(p.keys.size());
    p.run_triplet_reference(form, 0.3, d_queries, d_keys);
    const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
      for (size_t i = 0; i < values.size(); ++i) {
        const double at = values[i];
        values[i] = at + 1e-6;
        const double above = p.run_triplet_reference(form, 0.3).loss.sum;
        values[i] = at - 1e-6;
        const double below = p.run_triplet_reference(form, 0.3).loss.sum;
        values[i] = at;
        EXPECT_NEAR((above - below) / 2e-6, gradient[i], 1e-6);
      }
    };
    check(p.queries, d_queries);
    check(p.keys, d_keys);
  }
}

// He et al. 2020, equation 2, t times under a fixed value.
TEST(MovingAverage, ForgetsItsStartByItsLaw) {
  constexpr double kMomentum = 0.99;
  constexpr int kTimes = 500;
  CpuContext cpu(2);
  std::vector<double> value = testing::random_values(3000, 1);
  std::vector<double> start = testing::random_values(3000, 2);
  const Tensor q = testing::to_tensor(cpu, value, {3000}, DType::kF32);
  const Tensor k = testing::to_tensor(cpu, start, {3000}, DType::kF32);
  std::vector<double> average = start;
  for (int t = 0; t < kTimes; ++t) {
    moving_average(cpu, kMomentum, q, k);
    reference::moving_average(kMomentum, value, average);
  }
  const double kept = std::pow(kMomentum, kTimes);
  for (size_t i = 0; i < 3000; ++i) {
    const double law = kept * start[i] + (1.0 - kept) * value[i];
    EXPECT_NEAR(average[i], law, 1e-12);
    const double largest = std::max(std::abs(start[i]), std::abs(value[i]));
    EXPECT_NEAR(static_cast<double>(k.data<float>()[i]), law, largest * 0x1p-24 / (1.0 - kMomentum));
  }
}

TEST(MovingAverage, EndsOfItsRange) {
  CpuContext cpu(1);
  std::vector<double> value = testing::random_values(70000, 3);
  std::vector<double> start = testing::random_values(70000, 4);
  const Tensor q = testing::to_tensor(cpu, value, {70000}, DType::kF32);
  const Tensor k = testing::to_tensor(cpu, start, {70000}, DType::kF32);
  moving_average(cpu, 1.0, q, k);
  EXPECT_EQ(testing::to_doubles(k), start);
  moving_average(cpu, 0.0, q, k);
  EXPECT_EQ(testing::to_doubles(k), value);
}

// loss = Σ w·out: its slopes through both sides and the scale, in double.
TEST(LogitScale, GradientIsTheSlope) {
  CpuContext cpu(1);
  std::vector<double> a = testing::random_values(6, 1);
  std::vector<double> b = testing::random_values(6, 2);
  std::vector<double> weights = testing::random_values(12, 3);
  std::vector<double> offset{0.25};
  const double first = 1.0 / 0.07;
  const Tensor t_a = testing::to_tensor(cpu, a, {3, 2}, DType::kF32);
  const Tensor t_b = testing::to_tensor(cpu, b, {3, 2}, DType::kF32);
  const Tensor t_w = testing::to_tensor(cpu, weights, {6, 2}, DType::kF32);
  const Tensor t_offset = testing::to_tensor(cpu, offset, {1}, DType::kF32);
  const Tensor out = cpu.context.empty({6, 2}, DType::kF32);
  const Tensor d_a = cpu.context.empty({3, 2}, DType::kF32);
  const Tensor d_b = cpu.context.empty({3, 2}, DType::kF32);
  std::vector<double> zero{0.0};
  const Tensor d_offset = testing::to_tensor(cpu, zero, {1}, DType::kF32);
  scale_pair(cpu, t_a, t_b, first, t_offset, out);
  scale_pair_backward(cpu, out, t_w, first, t_offset, d_a, d_b, d_offset);
  const auto loss = [&](double shift) {
    double sum = 0.0;
    const double root = std::sqrt(logit_scale(first, offset[0] + shift));
    for (size_t i = 0; i < 6; ++i) sum += root * (weights[i] * a[i] + weights[6 + i] * b[i]);
    return sum;
  };
  EXPECT_NEAR(static_cast<double>(d_offset.data<float>()[0]), (loss(1e-6) - loss(-1e-6)) / 2e-6, 1e-4);
  const double root = std::sqrt(logit_scale(first, offset[0]));
  for (int64_t i = 0; i < 6; ++i) {
    EXPECT_NEAR(static_cast<double>(d_a.data<float>()[i]), root * weights[static_cast<size_t>(i)], 1e-5);
    EXPECT_NEAR(static_cast<double>(d_b.data<float>()[i]), root * weights[static_cast<size_t>(6 + i)], 1e-5);
    EXPECT_NEAR(static_cast<double>(out.data<float>()[i]), root * a[static_cast<size_t>(i)], 1e-5);
  }
  EXPECT_NEAR(logit_scale(first, 0.0), 14.2857142857, 1e-9);
  EXPECT_EQ(logit_scale(first, 5.0), kLogitScaleLimit);
}

}  // namespace
}  // namespace tsugi
