#include "ops/optimizer_step/optimizer_step.h"

#include <cstring>
#include <limits>

#include "tests/ops/golden.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

using testing::CpuContext;

/// Buffers of some chunks, all of them filled, padding included.
struct Buffers {
  Buffers(const Context& context, int64_t chunks, uint64_t seed, DType working_type = DType::kF32) {
    const int64_t count = chunks * kChunkElements;
    const auto fill = [&](uint64_t offset, double scale) {
      auto values = testing::random_values(count, seed + offset, scale);
      return testing::to_tensor(context, values, {count}, DType::kF32);
    };
    master = fill(0, 1.0);
    exp_avg = fill(1, 0.1);
    exp_avg_sq = fill(2, 0.1);
    for (int64_t i = 0; i < count; ++i) exp_avg_sq.data<float>()[i] = std::fabs(exp_avg_sq.data<float>()[i]);
    gradient = fill(3, 1.0);
    std::vector<double> sevens(static_cast<size_t>(count), 7.0);
    working = testing::to_tensor(context, sevens, {count}, working_type);
  }
  Tensor master, exp_avg, exp_avg_sq, gradient, working;
};

std::vector<double> square_sums(const Context& context, std::span<const ChunkRule> rules, const Tensor& buffer) {
  const Tensor sums = context.empty({std::ssize(rules)}, DType::kF64);
  std::fill_n(sums.data<double>(), rules.size(), -1.0);
  chunk_square_sums(context, rules, buffer, sums);
  return {sums.data<double>(), sums.data<double>() + rules.size()};
}

const AdamWStep kStep{.learning_rate = 0.01f, .step = 3, .gradient_scale = 0.5f};

std::vector<ChunkRule> make_rules() {
  return {{.tensor = 0, .valid = 4096, .weight_decay = 0.1f},
          {.tensor = 0, .valid = 1001, .weight_decay = 0.1f},
          {.tensor = 1, .valid = 4096, .frozen = true},
          {.tensor = 2, .valid = 3, .learning_rate_scale = 0.25f, .weight_decay = 0.1f},
          {.tensor = 3, .valid = 0}};
}

TEST(AdamW, MatchesTheReferenceAndLeavesTheRestAlone) {
  for (const DType type : {DType::kF32, DType::kBF16}) {
    CpuContext cpu(2);
    const std::vector<ChunkRule> rules = make_rules();
    Buffers b(cpu, std::ssize(rules), 11, type);
    std::vector<double> master = testing::to_doubles(b.master);
    std::vector<double> exp_avg = testing::to_doubles(b.exp_avg);
    std::vector<double> exp_avg_sq = testing::to_doubles(b.exp_avg_sq);
    const std::vector<double> before = master;
    const std::vector<double> gradient = testing::to_doubles(b.gradient);
    adamw_step(cpu, kStep, rules, b.master, b.exp_avg, b.exp_avg_sq, b.gradient, b.working);

    for (size_t i = 0; i < master.size(); ++i) {
      const ChunkRule& rule = rules[i / kChunkElements];
      const bool updated = !rule.frozen && static_cast<int32_t>(i % kChunkElements) < rule.valid;
      if (updated) {
        reference::adamw_element(kStep, rule.learning_rate_scale, rule.weight_decay, gradient[i], master[i], exp_avg[i],
                                 exp_avg_sq[i]);
        ASSERT_NE(b.master.data<float>()[i], static_cast<float>(before[i])) << i;
        ASSERT_NEAR(b.master.data<float>()[i], master[i], 1e-6) << i;
        ASSERT_NEAR(b.exp_avg.data<float>()[i], exp_avg[i], 1e-7) << i;
        ASSERT_NEAR(b.exp_avg_sq.data<float>()[i], exp_avg_sq[i], 1e-7) << i;
      } else {
        ASSERT_EQ(b.master.data<float>()[i], master[i]) << i;
        ASSERT_EQ(b.exp_avg.data<float>()[i], exp_avg[i]) << i;
        ASSERT_EQ(b.exp_avg_sq.data<float>()[i], exp_avg_sq[i]) << i;
      }
      const float now = b.master.data<float>()[i];
      const float rounded = type == DType::kBF16 ? static_cast<float>(bf16(now)) : now;
      const float working =
          type == DType::kBF16 ? static_cast<float>(b.working.data<bf16>()[i]) : b.working.data<float>()[i];
      ASSERT_EQ(working, updated ? rounded : 7.0f) << i;
    }
  }
}

TEST(AdamW, WorkingCopyMayBeTheMasterItself) {
  CpuContext cpu(1);
  const std::vector<ChunkRule> rules = make_rules();
  Buffers apart(cpu, std::ssize(rules), 12);
  Buffers one(cpu, std::ssize(rules), 12);
  adamw_step(cpu, kStep, rules, apart.master, apart.exp_avg, apart.exp_avg_sq, apart.gradient, apart.working);
  adamw_step(cpu, kStep, rules, one.master, one.exp_avg, one.exp_avg_sq, one.gradient, one.master);
  EXPECT_TRUE(testing::same_bits(apart.master, one.master));
  EXPECT_TRUE(testing::same_bits(apart.exp_avg_sq, one.exp_avg_sq));
}

/// Five steps of two tensors (one decayed, one with half the learning rate) with clipping, as PyTorch ran them.
class AdamWGolden : public ::testing::TestWithParam<std::pair<const char*, AdamWStep>> {
 protected:
  const testing::Golden golden = testing::read_golden("adamw.txt");
  const std::vector<ChunkRule> rules = {
      {.tensor = 0, .valid = static_cast<int32_t>(golden.at("sizes")[0]), .weight_decay = 0.1f},
      {.tensor = 1, .valid = static_cast<int32_t>(golden.at("sizes")[1]), .learning_rate_scale = 0.5f}};

  AdamWStep step_of(int64_t t) const {
    AdamWStep step = GetParam().second;
    step.step = t;
    step.learning_rate = static_cast<float>(golden.at("rates")[t - 1]);
    step.gradient_scale = static_cast<float>(golden.at("scales")[t - 1]);
    return step;
  }
  const std::vector<double>& expected(const char* run, const char* what, int64_t t) const {
    return golden.at(std::string(run) + "_" + GetParam().first + "_" + what + std::to_string(t));
  }
};

TEST_P(AdamWGolden, ReferenceMatchesDouble) {
  std::vector<double> master = golden.at("start");
  std::vector<double> exp_avg(master.size(), 0.0);
  std::vector<double> exp_avg_sq(master.size(), 0.0);
  for (int64_t t = 1; t <= 5; ++t) {
    const std::vector<double>& gradient = golden.at("gradient" + std::to_string(t));
    for (size_t i = 0; i < master.size(); ++i) {
      const ChunkRule& rule = rules[static_cast<int32_t>(i) < rules[0].valid ? 0 : 1];
      reference::adamw_element(step_of(t), rule.learning_rate_scale, rule.weight_decay, gradient[i], master[i],
                               exp_avg[i], exp_avg_sq[i]);
    }
    EXPECT_LE(testing::max_difference(master, expected("f64", "master", t)), 1e-14) << t;
    EXPECT_LE(testing::max_difference(exp_avg, expected("f64", "exp_avg", t)), 1e-15) << t;
    EXPECT_LE(testing::max_difference(exp_avg_sq, expected("f64", "exp_avg_sq", t)), 1e-15) << t;
  }
}

TEST_P(AdamWGolden, KernelMatchesFloat) {
  CpuContext cpu(2);
  const int64_t count = 2 * kChunkElements;
  const auto zeros = [&] {
    std::vector<double> values(static_cast<size_t>(count), 0.0);
    return testing::to_tensor(cpu, values, {count}, DType::kF32);
  };
  const auto place = [&](const Tensor& buffer, const std::vector<double>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      const bool first = static_cast<int32_t>(i) < rules[0].valid;
      buffer.data<float>()[first ? i : kChunkElements + i - rules[0].valid] = static_cast<float>(values[i]);
    }
  };
  const auto compact = [&](const Tensor& buffer) {
    std::vector<double> values = testing::to_doubles(buffer);
    values.erase(values.begin() + kChunkElements + rules[1].valid, values.end());
    values.erase(values.begin() + rules[0].valid, values.begin() + kChunkElements);
    return values;
  };
  const Tensor master = zeros(), exp_avg = zeros(), exp_avg_sq = zeros(), gradient = zeros();
  place(master, golden.at("start"));
  for (int64_t t = 1; t <= 5; ++t) {
    place(gradient, golden.at("gradient" + std::to_string(t)));
    const std::vector<double> sums = square_sums(cpu, rules, gradient);
    const double norm = std::sqrt(sums[0] + sums[1]);
    EXPECT_NEAR(step_of(t).gradient_scale, std::min(1.0, golden.at("clip")[0] / (norm + 1e-6)), 1e-7) << t;

    adamw_step(cpu, step_of(t), rules, master, exp_avg, exp_avg_sq, gradient, master);
    // Two units in the last place of the largest element: PyTorch contracts other products into FMAs than we do.
    for (const auto& [buffer, what] : {std::pair{master, "master"}, {exp_avg, "exp_avg"}, {exp_avg_sq, "exp_avg_sq"}}) {
      const std::vector<double>& values = expected("f32", what, t);
      EXPECT_LE(testing::max_difference(compact(buffer), values), 2.4e-7 * testing::max_abs(values)) << what << t;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Betas, AdamWGolden,
                         ::testing::Values(std::pair{"beta0.9", AdamWStep{.beta1 = 0.9f, .beta2 = 0.95f}},
                                           std::pair{"beta0.3", AdamWStep{.beta1 = 0.3f, .beta2 = 0.999f}}),
                         [](const auto& run) { return run.index == 0 ? "Usual" : "Beta1BelowHalf"; });

TEST(AdamW, BitsDoNotDependOnTheThreadsOrTheShard) {
  std::vector<ChunkRule> rules;
  for (int i = 0; i < 11; ++i) {
    rules.push_back({.tensor = i, .valid = 4096 - 37 * i, .weight_decay = 0.1f, .frozen = i == 4});
  }
  CpuContext one(1);
  Buffers whole(one, std::ssize(rules), 13, DType::kBF16);
  const std::vector<double> sums = square_sums(one, rules, whole.gradient);
  adamw_step(one, kStep, rules, whole.master, whole.exp_avg, whole.exp_avg_sq, whole.gradient, whole.working);
  for (const int threads : {2, 3, 4, 8}) {
    CpuContext cpu(threads);
    Buffers b(cpu, std::ssize(rules), 13, DType::kBF16);
    for (const auto& [first, count] : {std::pair{0, 5}, {5, 6}}) {  // as two ranks would
      const std::span<const ChunkRule> part(rules.data() + first, static_cast<size_t>(count));
      const auto shard = [&](const Tensor& x) { return x.slice(first * kChunkElements, {count * kChunkElements}); };
      const std::vector<double> part_sums = square_sums(cpu, part, shard(b.gradient));
      for (size_t i = 0; i < part.size(); ++i) EXPECT_EQ(part_sums[i], sums[static_cast<size_t>(first) + i]);
      adamw_step(cpu, kStep, part, shard(b.master), shard(b.exp_avg), shard(b.exp_avg_sq), shard(b.gradient),
                 shard(b.working));
    }
    EXPECT_TRUE(testing::same_bits(b.master, whole.master)) << threads;
    EXPECT_TRUE(testing::same_bits(b.exp_avg, whole.exp_avg)) << threads;
    EXPECT_TRUE(testing::same_bits(b.exp_avg_sq, whole.exp_avg_sq)) << threads;
    EXPECT_TRUE(testing::same_bits(b.working, whole.working)) << threads;
  }
}

TEST(ChunkSquareSums, CountsValidElementsOfChunksThatAreNotFrozen) {
  CpuContext cpu(2);
  const std::vector<ChunkRule> rules = make_rules();
  Buffers b(cpu, std::ssize(rules), 14);
  float* x = b.gradient.data<float>();
  x[1 * kChunkElements + 1001] = std::numeric_limits<float>::quiet_NaN();  // padding
  x[2 * kChunkElements] = std::numeric_limits<float>::infinity();          // frozen
  x[0] = std::numeric_limits<float>::max();                                // its square overflows f32, not f64
  const std::vector<double> sums = square_sums(cpu, rules, b.gradient);
  for (size_t chunk = 0; chunk < rules.size(); ++chunk) {
    double expected = 0.0;
    for (int32_t i = 0; i < rules[chunk].valid && !rules[chunk].frozen; ++i) {
      const double value = x[chunk * kChunkElements + static_cast<size_t>(i)];
      expected += value * value;
    }
    EXPECT_NEAR(sums[chunk], expected, 1e-13 * expected) << chunk;
  }
}

TEST(ChunkSquareSums, NonFiniteElementsShowWhereverTheyAre) {
  CpuContext cpu(1);
  const std::vector<ChunkRule> rules = {{.valid = 1001}};
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    for (const int64_t at : {0, 15, 16, 991, 992, 1000}) {
      Buffers b(cpu, 1, 15);
      b.gradient.data<float>()[at] = bad;
      EXPECT_FALSE(std::isfinite(square_sums(cpu, rules, b.gradient)[0])) << bad << " at " << at;
    }
  }
}

/// Numbers of two ranks, with three leaves and two chunks, that do not lie in order.
struct Numbers {
  explicit Numbers(const Context& context)
      : values(context.empty({13}, DType::kF64)),
        places{context.empty({7}, DType::kI32), 2, 3, 2},
        decision(context.empty({kStepDecisionNumbers}, DType::kF64)) {
    const double all[] = {0.0, 1.0, /*leaf 0*/ 6.0, 2.0, /*leaf 1*/ 3.0,   1.0,  /*chunk 1*/ 9.0,
                          0.0, 1.0, /*leaf 2*/ 1.0, 2.0, /*chunk 0*/ 16.0, -99.0};
    std::copy(std::begin(all), std::end(all), values.data<double>());
    const int32_t at[] = {0, 7, 2, 4, 9, 11, 6};
    std::copy(std::begin(at), std::end(at), places.places.data<int32_t>());
  }
  StepDecision decide(const Context& context, float clip_norm) const {
    decide_step(context, values, places, clip_norm, decision);
    StepDecision result;
    std::memcpy(&result, decision.raw(), sizeof(result));
    return result;
  }
  Tensor values;
  StepNumberPlaces places;
  Tensor decision;
};

TEST(StepDecision, IsTheMeanLossAndTheClippedNorm) {
  CpuContext cpu(1);
  const Numbers numbers(cpu);
  StepDecision free = numbers.decide(cpu, 0.0f);
  EXPECT_EQ(free.loss, 2.0);
  EXPECT_EQ(free.targets, 5.0);
  EXPECT_EQ(free.gradient_norm, 1.0) << "sqrt(25) / 5 targets";
  EXPECT_EQ(free.gradient_scale, 0.2);
  EXPECT_EQ(free.finite, 1.0);
  EXPECT_EQ(free.stop, 0.0);
  EXPECT_EQ(free.ready, 1.0);
  EXPECT_EQ(numbers.decide(cpu, 2.0f).gradient_scale, 0.2);
  EXPECT_EQ(numbers.decide(cpu, 0.5f).gradient_scale, 0.1);
  EXPECT_EQ(numbers.decide(cpu, 0.5f).gradient_norm, 1.0) << "before clipping";
}

TEST(StepDecision, AnyRankStopsAndAllAreReady) {
  CpuContext cpu(1);
  const Numbers numbers(cpu);
  numbers.values.data<double>()[7] = 1.0;
  EXPECT_EQ(numbers.decide(cpu, 0.0f).stop, 1.0);
  EXPECT_EQ(numbers.decide(cpu, 0.0f).ready, 1.0);
  numbers.values.data<double>()[1] = 0.0;
  EXPECT_EQ(numbers.decide(cpu, 0.0f).ready, 0.0);
}

TEST(StepDecision, WhatIsNotFiniteUpdatesNothing) {
  for (const int64_t at : {2, 11}) {
    for (const double bad : {std::nan(""), std::numeric_limits<double>::infinity()}) {
      CpuContext cpu(1);
      const Numbers numbers(cpu);
      numbers.values.data<double>()[at] = bad;
      EXPECT_EQ(numbers.decide(cpu, 1.0f).finite, 0.0);
      const std::vector<ChunkRule> rules = make_rules();
      Buffers b(cpu, std::ssize(rules), 11), same(cpu, std::ssize(rules), 11);
      adamw_step(cpu, kStep, rules, b.master, b.exp_avg, b.exp_avg_sq, b.gradient, b.working, numbers.decision);
      EXPECT_TRUE(testing::same_bits(b.master, same.master));
      EXPECT_TRUE(testing::same_bits(b.exp_avg, same.exp_avg));
      EXPECT_TRUE(testing::same_bits(b.working, same.working));
    }
  }
}

TEST(StepDecision, ScalesTheGradientOfTheUpdate) {
  CpuContext cpu(1);
  const Numbers numbers(cpu);
  EXPECT_EQ(numbers.decide(cpu, 0.5f).gradient_scale, 0.1);
  const std::vector<ChunkRule> rules = make_rules();
  Buffers told(cpu, std::ssize(rules), 11), decided(cpu, std::ssize(rules), 11);
  AdamWStep step = kStep;
  step.gradient_scale = 0.1f;
  adamw_step(cpu, step, rules, told.master, told.exp_avg, told.exp_avg_sq, told.gradient, told.working);
  adamw_step(cpu, kStep, rules, decided.master, decided.exp_avg, decided.exp_avg_sq, decided.gradient, decided.working,
             numbers.decision);
  EXPECT_TRUE(testing::same_bits(told.master, decided.master));
}

}  // namespace
}  // namespace tsugi
