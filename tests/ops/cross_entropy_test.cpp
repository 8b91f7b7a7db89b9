#include "ops/cross_entropy/cross_entropy.h"

#include <limits>

#include "tests/ops/cross_entropy_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;

using LossSizes = testing::LossSizes;
using Problem = testing::LossProblem;

constexpr LossSizes kLossSizes[] = {{1, 1, 1, 1},       {1, 3, 2, 8},         {7, 5, 17, 17},      {33, 31, 65, 128},
                                    {129, 48, 97, 128}, {40, 16, 1025, 1088}, {65, 24, 3001, 3008}};

class CrossEntropyTest : public ::testing::TestWithParam<LossSizes> {};
INSTANTIATE_TEST_SUITE_P(Sizes, CrossEntropyTest, ::testing::ValuesIn(kLossSizes));

TEST_P(CrossEntropyTest, FloatMatchesTheReference) {
  CpuContext cpu(2);
  Problem p(cpu, GetParam(), DType::kF32);
  const Tensor before = cpu.context.empty(p.d_weight.shape(), DType::kF32);
  std::memcpy(before.raw(), p.d_weight.raw(), before.bytes());
  const LossSum loss = p.run(cpu);
  const LossSum expected = p.run_reference();

  EXPECT_EQ(loss.count, expected.count);
  EXPECT_NEAR(loss.sum, expected.sum, 1e-6 * (1.0 + expected.sum));
  testing::expect_close(p.d_hidden, p.d_hidden_values, 2e-6);
  testing::expect_close(p.d_weight, p.d_weight_values, 1e-6);

  double row_sum = 0.0;
  for (int64_t r = 0; r < p.sizes.rows; ++r) {
    const float row = p.row_loss.data<float>()[r];
    EXPECT_EQ(row == 0.0f, p.target_span()[r] == kIgnoreIndex || p.sizes.vocabulary == 1);
    row_sum += row;
  }
  EXPECT_NEAR(row_sum, loss.sum, 1e-6 * (1.0 + loss.sum));
  const int64_t used = p.sizes.vocabulary * p.sizes.width;
  for (int64_t i = used; i < p.d_weight.elements(); ++i) {
    EXPECT_EQ(p.d_weight.data<float>()[i], before.data<float>()[i]) << "padding " << i;
  }
}

TEST_P(CrossEntropyTest, LossDoesNotDependOnWhetherGradientsAreWanted) {
  CpuContext cpu(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    Problem p(cpu, GetParam(), type);
    const LossSum with = p.run(cpu);
    const LossSum without = linear_cross_entropy(cpu, p.hidden, p.weight, p.targets, p.sizes.vocabulary, {}, {}, {});
    EXPECT_EQ(with.sum, without.sum);
    EXPECT_EQ(with.count, without.count);
  }
}

/// The mathematics in double, but for the gradient of the logits and d_hidden, rounded to bf16 because stored in it.
void plain_bf16_gradients(const Problem& p, std::vector<double>& d_hidden, std::vector<double>& d_weight) {
  const auto round = [](double x) { return static_cast<double>(static_cast<float>(bf16(static_cast<float>(x)))); };
  const LossSizes& s = p.sizes;
  for (int64_t r = 0; r < s.rows; ++r) {
    std::vector<double> sum(static_cast<size_t>(s.width), 0.0);
    std::vector<double> logits(static_cast<size_t>(s.vocabulary), 0.0);
    double total = 0.0;
    for (int64_t v = 0; v < s.vocabulary; ++v) {
      for (int64_t c = 0; c < s.width; ++c) {
        logits[v] += p.hidden_values[r * s.width + c] * p.weight_values[v * s.width + c];
      }
      total += std::exp(logits[v]);
    }
    for (int64_t v = 0; v < s.vocabulary && p.target_span()[r] != kIgnoreIndex; ++v) {
      const double gradient = round(std::exp(logits[v]) / total - (v == p.target_span()[r] ? 1.0 : 0.0));
      for (int64_t c = 0; c < s.width; ++c) {
        sum[c] += gradient * p.weight_values[v * s.width + c];
        d_weight[v * s.width + c] += gradient * p.hidden_values[r * s.width + c];
      }
    }
    for (int64_t c = 0; c < s.width; ++c) d_hidden[r * s.width + c] = round(sum[c]);
  }
}

TEST_P(CrossEntropyTest, Bf16IsAsGoodAsPlainBf16) {
  CpuContext cpu(2);
  Problem p(cpu, GetParam(), DType::kBF16);
  std::vector<double> plain_d_hidden(p.hidden_values.size());
  std::vector<double> plain_d_weight = p.d_weight_values;
  plain_bf16_gradients(p, plain_d_hidden, plain_d_weight);
  const LossSum loss = p.run(cpu);
  const LossSum expected = p.run_reference();

  EXPECT_NEAR(loss.sum, expected.sum, 1e-6 * (1.0 + expected.sum)) << "logits and losses are not rounded to bf16";
  const auto expect_as_good = [](const Tensor& actual, std::span<const double> exact, std::span<const double> plain) {
    EXPECT_LE(testing::max_difference(testing::to_doubles(actual), exact),
              2.0 * testing::max_difference(plain, exact) + 1e-6 * testing::max_abs(exact));
  };
  expect_as_good(p.d_hidden, p.d_hidden_values, plain_d_hidden);
  expect_as_good(p.d_weight, p.d_weight_values, plain_d_weight);
}

TEST(CrossEntropy, MatchesPyTorch) {
  const testing::Golden golden = testing::read_golden("cross_entropy.txt");
  const auto size = [&](size_t i) { return static_cast<int64_t>(golden.at("shape")[i]); };
  CpuContext cpu(1);
  Problem p(cpu, {size(0), size(1), size(2), size(2)}, DType::kF32);
  p.hidden_values = golden.at("hidden");
  p.weight_values = golden.at("weight");
  p.d_weight_values.assign(p.weight_values.size(), 0.0);
  p.hidden = testing::to_tensor(cpu, p.hidden_values, p.hidden.shape(), DType::kF32);
  p.weight = testing::to_tensor(cpu, p.weight_values, p.weight.shape(), DType::kF32);
  p.d_weight = testing::to_tensor(cpu, p.d_weight_values, p.weight.shape(), DType::kF32);
  for (size_t r = 0; r < 6; ++r) p.targets.data<int32_t>()[r] = static_cast<int32_t>(golden.at("targets")[r]);

  const LossSum loss = p.run(cpu);
  EXPECT_EQ(loss.count, 4);
  EXPECT_NEAR(loss.sum, golden.at("loss")[0], 1e-6 * golden.at("loss")[0]);
  testing::expect_close(p.row_loss, golden.at("row_loss"), 1e-6);
  testing::expect_close(p.d_hidden, golden.at("d_hidden"), 1e-6);
  testing::expect_close(p.d_weight, golden.at("d_weight"), 1e-6);

  const LossSum exact = p.run_reference();
  EXPECT_NEAR(exact.sum, golden.at("loss")[0], 1e-13);
  EXPECT_LE(testing::max_difference(p.d_hidden_values, golden.at("d_hidden")), 1e-14);
  EXPECT_LE(testing::max_difference(p.d_weight_values, golden.at("d_weight")), 1e-14);
}

TEST(CrossEntropy, ReferenceGradientIsTheSlopeOfItsLoss) {
  CpuContext cpu(1);
  Problem p(cpu, {5, 4, 7, 7}, DType::kF32);
  std::fill(p.d_weight_values.begin(), p.d_weight_values.end(), 0.0);
  p.run_reference();
  const auto loss = [&] {
    return reference::linear_cross_entropy(5, 4, 7, p.hidden_values, p.weight_values, p.target_span(), {}, {}).sum;
  };
  const auto check = [&](std::vector<double>& values, const std::vector<double>& gradient) {
    for (size_t i = 0; i < values.size(); ++i) {
      const double at = values[i];
      values[i] = at + 1e-5;
      const double above = loss();
      values[i] = at - 1e-5;
      const double below = loss();
      values[i] = at;
      EXPECT_NEAR(gradient[i], (above - below) / 2e-5, 1e-8) << i;
    }
  };
  check(p.hidden_values, p.d_hidden_values);
  check(p.weight_values, p.d_weight_values);
}

TEST(CrossEntropy, AllRowsIgnored) {
  CpuContext cpu(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    Problem p(cpu, {37, 8, 50, 64}, type);
    std::fill_n(p.targets.data<int32_t>(), 37, kIgnoreIndex);
    std::fill_n(p.d_weight.data<float>(), p.d_weight.elements(), 0.0f);
    const LossSum loss = p.run(cpu);
    EXPECT_EQ(loss.sum, 0.0);
    EXPECT_EQ(loss.count, 0);
    for (const Tensor& zero : {p.d_hidden, p.d_weight, p.row_loss}) {
      EXPECT_EQ(testing::max_difference(testing::to_doubles(zero), std::vector<double>(zero.elements(), 0.0)), 0.0);
    }
  }
}

TEST(CrossEntropy, PaddedVocabularyGivesTheSameBits) {
  CpuContext cpu(2);
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const LossSizes s :
         {LossSizes{50, 24, 97, 128}, LossSizes{50, 64, 1000, 1024}, LossSizes{33, 33, 2513, 2576}}) {
      Problem padded(cpu, s, type);
      Problem exact(cpu, {s.rows, s.width, s.vocabulary, s.vocabulary}, type);
      // Quarters: the logits are exact, whatever order a product of this size sums them in.
      for (const Problem* p : {&padded, &exact}) {
        for (const Tensor& x : {p->hidden, p->weight}) {
          dispatch_compute_type(type, [&]<class T>(T) {
            for (int64_t i = 0; i < x.elements(); ++i) {
              x.data<T>()[i] = T(std::round(4.0f * static_cast<float>(x.data<T>()[i])) / 4.0f);
            }
          });
        }
      }
      EXPECT_EQ(padded.run(cpu).sum, exact.run(cpu).sum) << s.vocabulary;
      EXPECT_TRUE(testing::same_bits(padded.row_loss, exact.row_loss)) << s.vocabulary;
      testing::expect_close(padded.d_hidden, testing::to_doubles(exact.d_hidden), type == DType::kF32 ? 1e-6 : 8e-3);
    }
  }
}

TEST(CrossEntropy, ChunksHoldAboutTheSameNumberOfLogits) {
  EXPECT_EQ(cross_entropy_chunk_rows(10, 50304), 10);
  EXPECT_EQ(cross_entropy_chunk_rows(4096, 50304), 320);  // 13 chunks
  EXPECT_EQ(cross_entropy_chunk_rows(340, 50304), 192);   // not 320 + 20
  EXPECT_EQ(cross_entropy_chunk_rows(100, 1 << 22), 32);  // at least
  EXPECT_EQ(cross_entropy_chunk_rows(200000, 96), 100000);
  EXPECT_EQ(cross_entropy_chunk_rows(1, 1 << 30), 1);
}

TEST(CrossEntropy, ChunksEqualSeparateCalls) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    CpuContext cpu(2);
    const LossSizes s{161, 4, 150001, 150016};
    const int64_t chunk = cross_entropy_chunk_rows(s.rows, s.padded);
    ASSERT_EQ(chunk, 96);
    Problem whole(cpu, s, type);
    Problem parts(cpu, s, type);
    const LossSum loss = whole.run(cpu);
    LossSum sum;
    double last = 0.0;
    for (int64_t begin = 0; begin < s.rows; begin += chunk) {
      const int64_t count = std::min(chunk, s.rows - begin);
      ASSERT_EQ(cross_entropy_chunk_rows(count, s.padded), count) << "one chunk";
      const auto rows = [&](const Tensor& x) { return x.slice(begin * s.width, {count, s.width}); };
      const LossSum part =
          linear_cross_entropy(cpu, rows(parts.hidden), parts.weight, parts.targets.slice(begin, {count}), s.vocabulary,
                               parts.row_loss.slice(begin, {count}), rows(parts.d_hidden), parts.d_weight);
      sum.sum += part.sum;
      sum.count += part.count;
      last = part.sum;
    }
    EXPECT_GT(last, 0.0);
    EXPECT_EQ(loss.count, sum.count);
    EXPECT_NEAR(loss.sum, sum.sum, 1e-13 * sum.sum);  // the order of additions differs
    EXPECT_TRUE(testing::same_bits(whole.row_loss, parts.row_loss));
    EXPECT_TRUE(testing::same_bits(whole.d_hidden, parts.d_hidden));
    EXPECT_TRUE(testing::same_bits(whole.d_weight, parts.d_weight));
    if (type == DType::kF32) {
      const LossSum expected = whole.run_reference();
      EXPECT_NEAR(loss.sum, expected.sum, 1e-6 * expected.sum);
      testing::expect_close(whole.d_hidden, whole.d_hidden_values, 2e-6);
      testing::expect_close(whole.d_weight, whole.d_weight_values, 1e-6);
    }
  }
}

TEST(CrossEntropy, ExtremeLogitsStayFinite) {
  CpuContext cpu(1);
  const std::vector<double> scales = {1e4, -1e4, 0.0};
  for (const double scale : scales) {
    Problem p(cpu, {2, 1, 40, 48}, DType::kF32);
    for (int64_t v = 0; v < 48; ++v) p.weight.data<float>()[v] = v == 3 ? 1.0f : v < 40 ? -1.0f : 9.0f;
    std::fill_n(p.hidden.data<float>(), 2, static_cast<float>(scale));
    p.targets.data<int32_t>()[0] = 3;
    p.targets.data<int32_t>()[1] = 7;
    std::fill_n(p.d_weight.data<float>(), 48, 0.0f);
    const LossSum loss = p.run(cpu);
    const double others = std::log(39.0);
    const double expected = scale > 0.0 ? 2e4 : scale < 0.0 ? (2e4 + others) + others : 2.0 * std::log(40.0);
    EXPECT_NEAR(loss.sum, expected, 1e-7 * expected);
    for (const Tensor& x : {p.row_loss, p.d_hidden, p.d_weight}) {
      EXPECT_TRUE(std::isfinite(testing::max_difference(testing::to_doubles(x), std::vector<double>(x.elements()))));
    }
    // Sure of 3 and right, sure of 3 and wrong: -1 at the target, +1 at the 3.
    if (scale > 0.0) {
      EXPECT_NEAR(p.d_hidden.data<float>()[0], 0.0f, 1e-35);
      EXPECT_EQ(p.d_hidden.data<float>()[1], 2.0f);
    }
  }
}

TEST(CrossEntropy, NotANumberIsNotHidden) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    CpuContext cpu(1);
    Problem p(cpu, {3, 4, 100, 128}, DType::kF32);
    p.weight.data<float>()[4 * 57] = bad;
    EXPECT_FALSE(std::isfinite(p.run(cpu).sum));
  }
}

TEST(CrossEntropy, BitsDoNotDependOnTheThreads) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const LossSizes s :
         {LossSizes{257, 48, 1000, 1024}, LossSizes{500, 64, 65, 128}, LossSizes{97, 8, 200000, 200000}}) {
      CpuContext one(1);
      Problem expected(one, s, type);
      const double sum = expected.run(one).sum;
      for (const int threads : {2, 3, 4, 8}) {
        CpuContext cpu(threads);
        Problem p(cpu, s, type);
        EXPECT_EQ(p.run(cpu).sum, sum) << threads;
        EXPECT_TRUE(testing::same_bits(p.row_loss, expected.row_loss)) << threads;
        EXPECT_TRUE(testing::same_bits(p.d_hidden, expected.d_hidden)) << threads;
        EXPECT_TRUE(testing::same_bits(p.d_weight, expected.d_weight)) << threads;
      }
    }
  }
}

TEST(CrossEntropy, MetaAllocatesTheSameAndComputesNothing) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    CpuContext cpu(1);
    Problem p(cpu, {97, 8, 200000, 200000}, type);
    ThreadPool pool(1);
    PlanningMemory planning;
    const LossSum nothing = p.run(Context(Device{.meta = true}, pool, planning));
    EXPECT_EQ(nothing.sum, 0.0);
    StaticArena arena(plan_arena(planning.lifetimes()));  // CHECKs every allocation against the plan
    const LossSum loss = p.run(Context(Device{}, pool, arena));
    arena.restart();
    EXPECT_GT(loss.sum, 0.0);
  }
}

TEST(CrossEntropyDeathTest, TargetOutsideTheVocabulary) {
  CpuContext cpu(1);
  Problem p(cpu, {3, 4, 100, 128}, DType::kF32);
  p.targets.data<int32_t>()[1] = 100;
  EXPECT_DEATH(p.run(cpu), "target 100 of a vocabulary of 100");
}

}  // namespace
}  // namespace tsugi
