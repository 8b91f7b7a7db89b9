#include "ops/info_nce/info_nce.h"

#include <numbers>

#include "ops/base/error.h"
#include "ops/normalize_rows/normalize_rows.h"
#include "tests/ops/contrastive_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::InfoNceProblem;

struct InfoNceResults {
  InfoNceSum sum;
  Tensor log_sums, d_queries, d_keys;
};

InfoNceResults run_info_nce(const CpuContext& cpu, const InfoNce& problem) {
  InfoNceResults r;
  r.log_sums = cpu.context.empty({problem.queries.shape()[0]}, DType::kF64);
  r.d_queries = cpu.context.empty(problem.queries.shape(), DType::kF32);
  r.d_keys = cpu.context.empty(problem.keys.shape(), DType::kF32);
  r.sum = info_nce(cpu, problem, r.log_sums, r.d_queries);
  info_nce_key_gradient(cpu, problem, r.log_sums, 0, r.d_keys);
  return r;
}

std::vector<double> normalized(const std::vector<double>& x, int64_t width) {
  std::vector<double> out(x.size());
  reference::normalize_rows(static_cast<int64_t>(x.size()) / width, width, x, out, {}, {});
  return out;
}

/// Ignored rows, padding keys, false negatives, queries that are no keys.
InfoNceProblem mixed_problem(int64_t queries, int64_t keys, int64_t width) {
  InfoNceProblem p;
  p.shape = {queries, keys, width, 0.3};
  p.queries = testing::random_values(queries * width, 1);
  p.keys = testing::random_values(keys * width, 2);
  for (int64_t i = 0; i < queries; ++i) {
    p.positives.push_back(i % 7 == 3 ? kIgnoreIndex : static_cast<int32_t>((5 * i + 1) % keys));
    p.query_groups.push_back(i % 5 == 0 ? kNoGroup : static_cast<int32_t>(i % 4));
  }
  for (int64_t j = 0; j < keys; ++j) p.key_groups.push_back(j % 11 == 2 ? kNoGroup : static_cast<int32_t>(j % 6));
  return p;
}

TEST(InfoNce, ReferenceMatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  for (const auto& [name, temperature] : {std::pair{"ntxent.0.1", 0.1}, std::pair{"ntxent.0.5", 0.5}}) {
    const std::vector<double> z = testing::lcg_values(1, 40);
    auto p = InfoNceProblem::two_views(normalized(z, 5), 4, 5, temperature);
    std::vector<double> d_queries(40);
    std::vector<double> d_keys(40);
    const InfoNceSum sum = p.run_reference(d_queries, d_keys);
    EXPECT_NEAR(sum.loss.sum / 8.0, golden.at(std::string(name) + ".loss")[0], 1e-13);
    for (size_t i = 0; i < 40; ++i) d_queries[i] = (d_queries[i] + d_keys[i]) / 8.0;
    std::vector<double> out(40);
    std::vector<double> d_z(40);
    reference::normalize_rows(8, 5, z, out, d_queries, d_z);
    EXPECT_LE(testing::max_difference(d_z, golden.at(std::string(name) + ".d_z")), 1e-13);
    double squares = 0.0;
    for (const double d : d_z) squares += d * d;
    EXPECT_NEAR(std::sqrt(squares), golden.at(std::string(name) + ".norm")[0], 1e-12);
  }
}

// Other programs' figures, to the digits in which they are given.
TEST(InfoNce, PublishedFormulasGiveTheirNumbers) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  EXPECT_NEAR(golden.at("ntxent.0.1.loss")[0], 7.327175546525, 5e-13);
  EXPECT_NEAR(golden.at("ntxent.0.1.norm")[0], 6.617232644505, 5e-13);
  EXPECT_NEAR(golden.at("ntxent.0.5.loss")[0], 2.586405634308, 6e-13);
  EXPECT_NEAR(golden.at("ntxent.0.5.norm")[0], 1.182257865208, 5e-13);
  EXPECT_NEAR(golden.at("moco.loss")[0], 15.741684202708, 5e-13);
  EXPECT_NEAR(golden.at("clip.loss")[0], 7.445991655937, 6e-13);
}

TEST(InfoNce, ThroughNormalizedRowsMatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  CpuContext cpu(2);
  std::vector<double> values = testing::lcg_values(1, 40);
  const Tensor z = testing::to_tensor(cpu, values, {8, 5}, DType::kF32);
  auto p = InfoNceProblem::two_views(values, 4, 5, 0.1);
  InfoNce problem = p.tensors(cpu);
  const Tensor unit = cpu.context.empty({8, 5}, DType::kF32);
  const Tensor scales = cpu.context.empty({8}, DType::kF64);
  normalize_rows(cpu, z, unit, scales);
  problem.queries = unit;
  problem.keys = unit;
  const InfoNceResults r = run_info_nce(cpu, problem);
  EXPECT_NEAR(r.sum.loss.sum / 8.0, golden.at("ntxent.0.1.loss")[0], 1e-5);
  for (int64_t i = 0; i < 40; ++i) {
    r.d_queries.data<float>()[i] = (r.d_queries.data<float>()[i] + r.d_keys.data<float>()[i]) / 8.0f;
  }
  const Tensor d_z = cpu.context.empty({8, 5}, DType::kF32);
  normalize_rows_backward(cpu, unit, scales, r.d_queries, d_z);
  testing::expect_close(d_z, golden.at("ntxent.0.1.d_z"), 1e-5);
}

// The queue's keys are negatives of all queries; another query's key is left out.
TEST(InfoNce, MomentumContrastIsAQueueOfKeys) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  InfoNceProblem p;
  p.shape = {3, 9, 4, 0.07};
  p.queries = normalized(testing::lcg_values(101, 12), 4);
  p.keys = normalized(testing::lcg_values(102, 12), 4);
  const std::vector<double> queue = normalized(testing::lcg_values(103, 24), 4);
  p.keys.insert(p.keys.end(), queue.begin(), queue.end());
  p.positives = {0, 1, 2};
  p.query_groups = {0, 0, 0};
  p.key_groups = {0, 0, 0, 1, 1, 1, 1, 1, 1};
  std::vector<double> d_queries(12);
  EXPECT_NEAR(p.run_reference(d_queries).loss.sum / 3.0, golden.at("moco.loss")[0], 1e-12);
  for (double& d : d_queries) d /= 3.0;
  EXPECT_LE(testing::max_difference(d_queries, golden.at("moco.d_q")), 1e-12);
}

TEST(InfoNce, ImagesAndTextsLookForEachOther) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  InfoNceProblem p;
  p.shape = {4, 4, 5, 0.07};
  p.queries = normalized(testing::lcg_values(111, 20), 5);
  p.keys = normalized(testing::lcg_values(112, 20), 5);
  p.positives = {0, 1, 2, 3};
  p.query_groups = p.key_groups = {0, 1, 2, 3};
  std::vector<double> d_image(20);
  std::vector<double> d_image_as_key(20);
  double loss = p.run_reference(d_image).loss.sum;
  std::swap(p.queries, p.keys);
  loss += p.run_reference({}, d_image_as_key).loss.sum;
  EXPECT_NEAR(loss / 8.0, golden.at("clip.loss")[0], 1e-12);
  for (size_t i = 0; i < 20; ++i) d_image[i] = (d_image[i] + d_image_as_key[i]) / 8.0;
  EXPECT_LE(testing::max_difference(d_image, golden.at("clip.d_image")), 1e-12);
}

/// The same with classes: some queries have several positives.
InfoNceProblem problem_with_classes(int64_t queries, int64_t keys, int64_t width) {
  InfoNceProblem p = mixed_problem(queries, keys, width);
  for (int64_t i = 0; i < queries; ++i) p.query_classes.push_back(static_cast<int32_t>(i % 3));
  for (int64_t j = 0; j < keys; ++j) p.key_classes.push_back(static_cast<int32_t>(j * j % 4));
  p.count_positives();
  return p;
}

TEST(InfoNce, SupervisedContrastiveMatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("contrastive.txt");
  CpuContext cpu(1);
  InfoNceProblem p;
  p.shape = {8, 8, 5, 0.1};
  p.queries = p.keys = normalized(testing::lcg_values(121, 40), 5);
  p.positives = {2, 5, 0, 7, 0, 1, 0, 3};  // one of the class
  p.query_groups = p.key_groups = {0, 1, 2, 3, 4, 5, 6, 7};
  p.query_classes = p.key_classes = {0, 1, 0, 2, 0, 1, 0, 2};
  p.count_positives();
  EXPECT_EQ(p.positive_counts, (std::vector<int32_t>{3, 1, 3, 1, 3, 1, 3, 1}));
  std::vector<double> d_queries(40);
  std::vector<double> d_keys(40);
  EXPECT_NEAR(p.run_reference(d_queries, d_keys).loss.sum / 8.0, golden.at("supcon.loss")[0], 1e-12);
  for (size_t i = 0; i < 40; ++i) d_queries[i] = (d_queries[i] + d_keys[i]) / 8.0;
  EXPECT_LE(testing::max_difference(d_queries, golden.at("supcon.d_z")), 1e-12);
  const InfoNceResults r = run_info_nce(cpu, p.tensors(cpu));
  EXPECT_NEAR(r.sum.loss.sum / 8.0, golden.at("supcon.loss")[0], 2e-6);
}

TEST(InfoNce, SeveralPositivesMatchTheReference) {
  for (const auto& [queries, keys, width] : {std::tuple{9, 9, 5}, std::tuple{37, 70, 16}, std::tuple{65, 1500, 24}}) {
    CpuContext cpu(2);
    InfoNceProblem p = problem_with_classes(queries, keys, width);
    const InfoNceResults r = run_info_nce(cpu, p.tensors(cpu));
    std::vector<double> d_queries(p.queries.size());
    std::vector<double> d_keys(p.keys.size());
    const InfoNceSum expected = p.run_reference(d_queries, d_keys);
    EXPECT_EQ(r.sum.loss.count, expected.loss.count);
    EXPECT_EQ(r.sum.nearest, expected.nearest);
    EXPECT_NEAR(r.sum.loss.sum, expected.loss.sum, 2e-6 * (1.0 + expected.loss.sum));
    testing::expect_close(r.d_queries, d_queries, 5e-6);
    testing::expect_close(r.d_keys, d_keys, 5e-6);
  }
}

TEST(InfoNce, SpecialCasesInClosedForm) {
  CpuContext cpu(1);
  // All rows equal: every key is as likely as any other.
  auto equal = InfoNceProblem::two_views(std::vector<double>(12 * 3, 0.5), 6, 3, 0.2);
  const InfoNceResults all_equal = run_info_nce(cpu, equal.tensors(cpu));
  EXPECT_NEAR(all_equal.sum.loss.sum / 12.0, std::log(11.0), 1e-6);
  EXPECT_EQ(all_equal.sum.nearest, 0) << "nothing is nearer than anything else";
  // Four orthogonal pairs: ln(1 + 6·e^-2).
  std::vector<double> axes(8 * 4);
  for (size_t i = 0; i < 8; ++i) axes[4 * i + i % 4] = 1.0;
  auto orthogonal = InfoNceProblem::two_views(axes, 4, 4, 0.5);
  const InfoNceResults pairs = run_info_nce(cpu, orthogonal.tensors(cpu));
  EXPECT_NEAR(pairs.sum.loss.sum / 8.0, 0.594438, 1e-6);
  EXPECT_EQ(pairs.sum.nearest, 8);
  // One negative, a score of 1 below the positive: the logistic loss.
  InfoNceProblem one{{1, 2, 1, 1.0}, {1.0}, {3.0, 2.0}, {0}, {kNoGroup}, {0, 1}};
  EXPECT_NEAR(one.run_reference().loss.sum, 0.313261687518, 5e-13);
  EXPECT_NEAR(run_info_nce(cpu, one.tensors(cpu)).sum.loss.sum, 0.313261687518, 1e-6);
}

TEST(InfoNce, FloatMatchesTheReference) {
  for (const auto& [queries, keys, width] :
       {std::tuple{1, 2, 1}, std::tuple{9, 9, 5}, std::tuple{37, 70, 16}, std::tuple{65, 1500, 24}}) {
    CpuContext cpu(2);
    InfoNceProblem p = mixed_problem(queries, keys, width);
    const InfoNceResults r = run_info_nce(cpu, p.tensors(cpu));
    std::vector<double> d_queries(p.queries.size());
    std::vector<double> d_keys(p.keys.size());
    const InfoNceSum expected = p.run_reference(d_queries, d_keys);
    EXPECT_EQ(r.sum.loss.count, expected.loss.count);
    EXPECT_EQ(r.sum.nearest, expected.nearest);
    EXPECT_NEAR(r.sum.loss.sum, expected.loss.sum, 2e-6 * (1.0 + expected.loss.sum));
    testing::expect_close(r.d_queries, d_queries, 5e-6);
    testing::expect_close(r.d_keys, d_keys, 5e-6);
    for (int64_t j = 0; j < keys; ++j) {
      const bool positive = std::find(p.positives.begin(), p.positives.end(), j) != p.positives.end();
      if (p.key_groups[static_cast<size_t>(j)] != kNoGroup || positive) continue;
      for (int64_t c = 0; c < width; ++c) EXPECT_EQ(r.d_keys.data<float>()[j * width + c], 0.0f) << "padding " << j;
    }
  }
}

class InfoNceSlope : public ::testing::TestWithParam<bool> {};

TEST_P(InfoNceSlope, IsTheReferencesGradient) {
  InfoNceProblem p = GetParam() ? problem_with_classes(6, 9, 3) : mixed_problem(6, 9, 3);
  std::vector<double> d_queries(p.queries.size());
  std::vector<double> d_keys(p.keys.size());
  p.run_reference(d_queries, d_keys);
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double at = values[i];
      values[i] = at + 1e-5;
      const double above = p.run_reference().loss.sum;
      values[i] = at - 1e-5;
      const double below = p.run_reference().loss.sum;
      values[i] = at;
      EXPECT_NEAR((above - below) / 2e-5, gradient[i], 1e-6);
    }
  };
  check(p.queries, d_queries);
  check(p.keys, d_keys);
}

INSTANTIATE_TEST_SUITE_P(Positives, InfoNceSlope, ::testing::Bool(),
                         [](const auto& parameter) { return std::string(parameter.param ? "several" : "one"); });

// A rank has some of the rows and keys: the pieces are the same bits as the whole.
TEST(InfoNce, KeysInPartsHaveTheGradientOfTheWhole) {
  CpuContext cpu(2);
  InfoNceProblem p = mixed_problem(24, 36, 8);
  const InfoNce problem = p.tensors(cpu);
  const InfoNceResults r = run_info_nce(cpu, problem);
  const Tensor part = cpu.context.empty({12, 8}, DType::kF32);
  for (int64_t first = 0; first < 36; first += 12) {
    info_nce_key_gradient(cpu, problem, r.log_sums, first, part);
    const std::vector<double> whole = testing::to_doubles(r.d_keys.slice(first * 8, {12, 8}));
    testing::expect_close(part, whole, 4e-6);  // products of other shapes may be summed in another order (AVX-512)
  }
}

TEST(InfoNce, BitsDoNotDependOnThreads) {
  std::vector<InfoNceResults> results;
  std::vector<std::unique_ptr<CpuContext>> contexts;
  for (const int threads : {1, 2, 3, 8}) {
    contexts.push_back(std::make_unique<CpuContext>(threads));
    InfoNceProblem p = mixed_problem(100, 900, 32);
    results.push_back(run_info_nce(*contexts.back(), p.tensors(*contexts.back())));
  }
  for (const InfoNceResults& r : results) {
    EXPECT_EQ(r.sum.loss.sum, results[0].sum.loss.sum);
    EXPECT_TRUE(testing::same_bits(r.d_queries, results[0].d_queries));
    EXPECT_TRUE(testing::same_bits(r.d_keys, results[0].d_keys));
  }
}

TEST(NormalizeRows, MatchesTheReferenceAndLeavesZerosAlone) {
  CpuContext cpu(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    std::vector<double> x = testing::random_values(40 * 7, 3, 4.0);
    std::fill(x.begin(), x.begin() + 7, 0.0);
    const Tensor in = testing::to_tensor(cpu, x, {40, 7}, type);
    std::vector<double> d_out = testing::random_values(40 * 7, 4);
    const Tensor d_out_tensor = testing::to_tensor(cpu, d_out, {40, 7}, DType::kF32);
    std::fill(d_out.begin(), d_out.begin() + 7, 0.0);
    std::fill_n(d_out_tensor.data<float>(), 7, 0.0f);
    std::vector<double> out(x.size());
    std::vector<double> d_x(x.size());
    reference::normalize_rows(40, 7, x, out, d_out, d_x);
    const Tensor y = cpu.context.empty({40, 7}, DType::kF32);
    const Tensor scales = cpu.context.empty({40}, DType::kF64);
    const Tensor d_in = cpu.context.empty({40, 7}, type);
    normalize_rows(cpu, in, y, scales);
    normalize_rows_backward(cpu, y, scales, d_out_tensor, d_in);
    testing::expect_close(y, out, 1e-7);
    testing::expect_close(d_in, d_x, type == DType::kF32 ? 1e-6 : 4e-3);
    for (int64_t c = 0; c < 7; ++c) EXPECT_EQ(y.data<float>()[c], 0.0f);
  }
}

}  // namespace
}  // namespace tsugi
