// Soft cap, z-loss, label smoothing and rows that are skipped, against the double reference.
#include "tests/ops/cross_entropy_testing.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

using testing::CpuContext;
using testing::LossProblem;
using testing::LossSizes;

const CrossEntropyOptions kOptions[] = {
    {.soft_cap = 3.0f},
    {.z_loss = 0.01f},
    {.label_smoothing = 0.1f},
    {.skip_ignored = true},
    {.soft_cap = 2.0f, .z_loss = 0.02f, .label_smoothing = 0.2f, .skip_ignored = true},
};
constexpr LossSizes kOptionSizes[] = {{1, 1, 1, 1}, {7, 5, 17, 17}, {33, 31, 65, 128}, {300, 16, 1025, 1088}};

/// Ignores all but one row in `every`.
void ignore_most(LossProblem& p, int64_t every) {
  for (int64_t r = 0; r < p.sizes.rows; ++r) {
    int32_t& target = p.targets.data<int32_t>()[r];
    target = r % every == every / 2 ? static_cast<int32_t>(r * 31 % p.sizes.vocabulary) : kIgnoreIndex;
  }
}

class OptionsTest : public ::testing::TestWithParam<std::tuple<CrossEntropyOptions, LossSizes>> {};
INSTANTIATE_TEST_SUITE_P(, OptionsTest,
                         ::testing::Combine(::testing::ValuesIn(kOptions), ::testing::ValuesIn(kOptionSizes)));

TEST_P(OptionsTest, EqualsTheReference) {
  const auto& [options, sizes] = GetParam();
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const int64_t every : {1, 9}) {
      CpuContext cpu(2);
      LossProblem p(cpu, sizes, type);
      if (every > 1) ignore_most(p, every);
      p.options = options;
      const LossSum loss = p.run(cpu);
      const LossSum expected = p.run_reference();
      EXPECT_EQ(loss.count, expected.count);
      EXPECT_NEAR(loss.sum, expected.sum, 1e-6 * (1.0 + expected.sum));
      EXPECT_NEAR(loss.z_loss, expected.z_loss, 1e-6 * (1.0 + expected.z_loss));
      EXPECT_NEAR(loss.smoothing, expected.smoothing, 1e-6 * (1.0 + expected.sum));
      EXPECT_EQ(loss.z_loss != 0.0, options.z_loss > 0.0f && expected.count > 0);
      // bf16: the gradient of the logits is rounded once (relative 2^-9), d_hidden once more.
      testing::expect_close(p.d_hidden, p.d_hidden_values, type == DType::kF32 ? 3e-6 : 0x1p-7);
      testing::expect_close(p.d_weight, p.d_weight_values, type == DType::kF32 ? 2e-6 : 0x1p-8);
      double row_sum = 0.0;
      for (int64_t r = 0; r < sizes.rows; ++r) {
        const float row = p.row_loss.data<float>()[r];
        row_sum += static_cast<double>(row);
        EXPECT_TRUE(p.target_span()[r] != kIgnoreIndex || row == 0.0f) << r;
      }
      EXPECT_NEAR(row_sum, expected.sum, 1e-6 * (1.0 + expected.sum)) << "rows hold the plain loss";
    }
  }
}

TEST_P(OptionsTest, BitsDoNotDependOnTheThreads) {
  const auto& [options, sizes] = GetParam();
  for (const DType type : {DType::kF32, DType::kBF16}) {
    CpuContext one(1);
    LossProblem expected(one, sizes, type);
    expected.options = options;
    const LossSum sum = expected.run(one);
    for (const int threads : {2, 3, 8}) {
      CpuContext cpu(threads);
      LossProblem p(cpu, sizes, type);
      p.options = options;
      const LossSum loss = p.run(cpu);
      EXPECT_EQ(loss.sum, sum.sum);
      EXPECT_EQ(loss.z_loss, sum.z_loss);
      EXPECT_EQ(loss.smoothing, sum.smoothing);
      EXPECT_TRUE(testing::same_bits(p.row_loss, expected.row_loss)) << threads;
      EXPECT_TRUE(testing::same_bits(p.d_hidden, expected.d_hidden)) << threads;
      EXPECT_TRUE(testing::same_bits(p.d_weight, expected.d_weight)) << threads;
    }
  }
}

TEST_P(OptionsTest, OneGradientAlone) {
  const auto& [options, sizes] = GetParam();
  CpuContext cpu(2);
  LossProblem both(cpu, sizes, DType::kF32);
  both.options = options;
  both.run(cpu);
  LossProblem hidden_only(cpu, sizes, DType::kF32);
  linear_cross_entropy(cpu, hidden_only.hidden, hidden_only.weight, hidden_only.targets, sizes.vocabulary, {},
                       hidden_only.d_hidden, {}, options);
  EXPECT_TRUE(testing::same_bits(hidden_only.d_hidden, both.d_hidden));
  LossProblem weight_only(cpu, sizes, DType::kF32);
  linear_cross_entropy(cpu, weight_only.hidden, weight_only.weight, weight_only.targets, sizes.vocabulary, {}, {},
                       weight_only.d_weight, options);
  EXPECT_TRUE(testing::same_bits(weight_only.d_weight, both.d_weight));
}

TEST_P(OptionsTest, ReferenceGradientIsTheSlopeOfItsLosses) {
  CpuContext cpu(1);
  LossProblem p(cpu, {5, 4, 7, 7}, DType::kF32);
  p.options = std::get<0>(GetParam());
  std::fill(p.d_weight_values.begin(), p.d_weight_values.end(), 0.0);
  p.run_reference();
  const auto loss = [&] {
    const LossSum sum =
        reference::linear_cross_entropy(5, 4, 7, p.hidden_values, p.weight_values, p.target_span(), {}, {}, p.options);
    return sum.sum + sum.z_loss + sum.smoothing;
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

/// A bias of the vocabulary, with values in the padding that must not count, and a gradient that is added to.
struct BiasProblem : LossProblem {
  BiasProblem(const Context& context, LossSizes s, DType type, bool skip) : LossProblem(context, s, type) {
    bias_values = testing::random_values(s.padded, 5);
    d_bias_values = testing::random_values(s.padded, 6);
    options.bias = testing::to_tensor(context, bias_values, {s.padded}, type);
    options.d_bias = testing::to_tensor(context, d_bias_values, {s.padded}, DType::kF32);
    options.skip_ignored = skip;
  }
  LossSum run_biased_reference() {
    d_hidden_values.resize(hidden_values.size());
    return reference::linear_cross_entropy(sizes.rows, sizes.width, sizes.vocabulary, hidden_values, weight_values,
                                           target_span(), d_hidden_values, d_weight_values, options, bias_values,
                                           d_bias_values);
  }
  std::vector<double> bias_values, d_bias_values;
};

TEST(CrossEntropyBias, EqualsTheReferenceOnAnyNumberOfThreads) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    for (const LossSizes& sizes : kOptionSizes) {
      for (const bool skip : {false, true}) {
        CpuContext one(1);
        BiasProblem expected(one, sizes, type, skip);
        const LossSum loss = expected.run(one);
        BiasProblem exact(one, sizes, type, skip);
        const LossSum sum = exact.run_biased_reference();
        EXPECT_EQ(loss.count, sum.count);
        EXPECT_NEAR(loss.sum, sum.sum, 1e-6 * (1.0 + sum.sum));
        testing::expect_close(expected.d_hidden, exact.d_hidden_values, type == DType::kF32 ? 3e-6 : 0x1p-7);
        testing::expect_close(expected.d_weight, exact.d_weight_values, type == DType::kF32 ? 2e-6 : 0x1p-8);
        testing::expect_close(expected.options.d_bias, exact.d_bias_values, type == DType::kF32 ? 2e-6 : 0x1p-8);
        for (const int threads : {2, 5}) {
          CpuContext cpu(threads);
          BiasProblem p(cpu, sizes, type, skip);
          EXPECT_EQ(p.run(cpu).sum, loss.sum);
          EXPECT_TRUE(testing::same_bits(p.d_hidden, expected.d_hidden)) << threads;
          EXPECT_TRUE(testing::same_bits(p.options.d_bias, expected.options.d_bias)) << threads;
        }
      }
    }
  }
}

TEST(CrossEntropyBias, ReferenceGradientIsTheSlopeOfTheLoss) {
  CpuContext cpu(1);
  BiasProblem p(cpu, {5, 4, 7, 7}, DType::kF32, false);
  p.options.soft_cap = 3.0f;
  std::ranges::fill(p.d_bias_values, 0.0);
  p.run_biased_reference();
  const auto loss = [&] {
    return reference::linear_cross_entropy(5, 4, 7, p.hidden_values, p.weight_values, p.target_span(), {}, {},
                                           p.options, p.bias_values)
        .sum;
  };
  for (size_t i = 0; i < p.bias_values.size(); ++i) {
    const double at = p.bias_values[i];
    p.bias_values[i] = at + 1e-5;
    const double above = loss();
    p.bias_values[i] = at - 1e-5;
    const double below = loss();
    p.bias_values[i] = at;
    EXPECT_NEAR(p.d_bias_values[i], (above - below) / 2e-5, 1e-8) << i;
  }
}

TEST(CrossEntropyOptions, GoldenOfPyTorch) {
  const testing::Golden golden = testing::read_golden("family_ops.txt");
  const auto size = [&](size_t i) { return static_cast<int64_t>(golden.at("loss.shape")[i]); };
  CpuContext cpu(1);
  LossProblem p(cpu, {size(0), size(1), size(2), size(2)}, DType::kF32);
  p.options = {.soft_cap = 4.0f, .z_loss = 0.0078125f, .label_smoothing = 0.125f};
  p.hidden_values = golden.at("loss.hidden");
  p.weight_values = golden.at("loss.weight");
  p.d_weight_values.assign(p.weight_values.size(), 0.0);
  p.hidden = testing::to_tensor(cpu, p.hidden_values, p.hidden.shape(), DType::kF32);
  p.weight = testing::to_tensor(cpu, p.weight_values, p.weight.shape(), DType::kF32);
  p.d_weight = testing::to_tensor(cpu, p.d_weight_values, p.weight.shape(), DType::kF32);
  for (int64_t r = 0; r < size(0); ++r) {
    p.targets.data<int32_t>()[r] = static_cast<int32_t>(golden.at("loss.targets")[static_cast<size_t>(r)]);
  }
  const LossSum loss = p.run(cpu);
  EXPECT_NEAR(loss.sum, golden.at("loss.nll")[0], 1e-6 * loss.sum);
  EXPECT_NEAR(loss.z_loss, golden.at("loss.z_loss")[0], 1e-6 * loss.z_loss);
  EXPECT_NEAR(loss.sum + loss.smoothing, golden.at("loss.smoothed")[0], 1e-6 * loss.sum);
  testing::expect_close(p.d_hidden, golden.at("loss.d_hidden"), 2e-6);
  testing::expect_close(p.d_weight, golden.at("loss.d_weight"), 2e-6);
  const LossSum exact = p.run_reference();
  EXPECT_NEAR(exact.sum + exact.smoothing, golden.at("loss.smoothed")[0], 1e-13);
  EXPECT_LE(testing::max_difference(p.d_hidden_values, golden.at("loss.d_hidden")), 1e-14);
  EXPECT_LE(testing::max_difference(p.d_weight_values, golden.at("loss.d_weight")), 1e-14);
}

TEST(CrossEntropySkip, APlannedArenaFitsHoweverManyRowsAreIgnored) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    CpuContext cpu(1);
    LossProblem p(cpu, {600, 16, 3000, 3008}, type);
    p.options.skip_ignored = true;
    ThreadPool pool(2);
    PlanningMemory planning;
    p.run(Context(Device{.meta = true}, pool, planning));
    StaticArena arena(plan_arena(planning.lifetimes()));  // CHECKs every allocation against the plan
    for (const int64_t every : {1, 2, 9, 700, 2000}) {
      ignore_most(p, every);
      EXPECT_EQ(p.run(Context(Device{}, pool, arena)).count, every == 2000 ? 0 : (600 - every / 2 + every - 1) / every);
      arena.restart();
    }
  }
}

TEST(CrossEntropySkip, CappedLogitsOfAnySizeStayFinite) {
  CpuContext cpu(1);
  LossProblem p(cpu, {40, 8, 100, 128}, DType::kF32, 1e4);
  p.options = {.soft_cap = 30.0f, .z_loss = 1e-4f};
  const LossSum loss = p.run(cpu);
  EXPECT_TRUE(std::isfinite(loss.sum) && std::isfinite(loss.z_loss));
  EXPECT_LE(loss.sum / static_cast<double>(loss.count), 60.0 + std::log(100.0)) << "no logit is beyond the cap";
  EXPECT_TRUE(std::isfinite(testing::max_abs(testing::to_doubles(p.d_weight))));
}

}  // namespace
}  // namespace tsugi
