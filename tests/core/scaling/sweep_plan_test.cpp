#include "core/scaling/plan/sweep_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "core/config/config.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

RunConfig base(const std::string& more = "") {
  RunConfig config;
  parse_config(R"(steps: 1
    model { layers: 1 heads: 1 width: 8 context: 64 vocabulary: 256 }
    data { train: "tokens" }
    batch { micro_batch: 4 }
    optimizer { learning_rate: 1e-3 }
    schedule { warmup_steps: 100 }
  )" + more,
               "base", {}, config);
  return config;
}

SweepPlan plan(const std::string& text, const RunConfig& config = base(),
               const std::map<std::string, std::string>& fingerprint = {{"training data", "1"}}) {
  SweepConfig sweep;
  parse_config("base: \"base\" learning_rate { value: 1e-2 at_width: 64 width_power: -0.5 } " + text, "sweep", {},
               sweep);
  return plan_sweep(sweep, "sweep", config, fingerprint);
}

constexpr char kSizes[] =
    "sizes { name: \"a\" layers: 2 heads: 2 width: 32 } sizes { name: \"b\" layers: 3 heads: 4 width: 64 } ";

std::string plan_refusal(const std::string& text) {
  try {
    plan(text);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "nothing";
}

TEST(SweepPlan, StepsAreWhatTheBudgetPaysFor) {
  const SweepPlan sweep =
      plan(std::string(kSizes) + "budgets { flops: 1e11 seeds: 2 } budgets { flops: 4e11 held_out: true }");
  ASSERT_EQ(sweep.runs.size(), 6u);
  const PlannedRun& run = sweep.runs[2];
  EXPECT_EQ(run.name, "c1e+11-b-s1337");
  EXPECT_FALSE(run.held_out);
  EXPECT_TRUE(sweep.runs[4].held_out);
  EXPECT_EQ(sweep.runs[3].config.seed(), 1338u);
  // GPT-2 blocks of 12 d² + 13 d, the final norm, a tied table; 6 N + 12 L d T FLOPs per token, 4 · 64 tokens a step.
  const double n = 3 * (12 * 64 * 64 + 13 * 64) + 2 * 64 + 256 * 64;
  EXPECT_EQ(run.parameters_in_products, n);
  EXPECT_EQ(run.parameters, n + 64 * 64);
  EXPECT_EQ(run.parameters_in_blocks, n - 256 * 64);
  const double per_step = (6 * n + 12.0 * 3 * 64 * 64) * 4 * 64;
  EXPECT_EQ(run.config.steps(), std::lround(1e11 / per_step));
  EXPECT_NEAR(run.flops, 1e11, 1e9);
  EXPECT_EQ(run.flops_6nd, 6 * n * run.tokens);
  EXPECT_EQ(run.config.schedule().warmup_steps(), std::lround(0.05 * static_cast<double>(run.config.steps())));
  EXPECT_FLOAT_EQ(run.config.optimizer().learning_rate(), 1e-2f);
  EXPECT_FLOAT_EQ(sweep.runs[0].config.optimizer().learning_rate(), 1e-2f * std::sqrt(2.0f));
  EXPECT_NEAR(sweep.flops, 12e11, 12e9);
}

TEST(SweepPlan, ARunIsItsConfigurationAndData) {
  const std::string text = std::string(kSizes) + "budgets { flops: 1e11 } budgets { flops: 2e11 }";
  const SweepPlan sweep = plan(text);
  std::set<std::string> ids;
  for (const PlannedRun& run : sweep.runs) ids.insert(run.id);
  EXPECT_EQ(ids.size(), 4u);
  EXPECT_EQ(plan(text, base("name: \"x\" logging { every_steps: 3 } dist { threads: 2 }")).runs[1].id,
            sweep.runs[1].id);
  EXPECT_NE(plan(text, base("numerics { compute: BF16 }")).runs[1].id, sweep.runs[1].id);
  EXPECT_NE(plan(text, base(), {{"training data", "2"}}).runs[1].id, sweep.runs[1].id);
  // What stands beside a run changes nothing about it.
  EXPECT_EQ(plan(text + " budgets { flops: 3e11 seeds: 2 sizes: \"a\" }").runs[1].id, sweep.runs[1].id);
}

TEST(SweepPlan, RefusesWhatCannotBe) {
  EXPECT_THAT(plan_refusal("budgets { flops: 1e11 }"), HasSubstr("sweep: there are no sizes"));
  EXPECT_THAT(plan_refusal(kSizes), HasSubstr("there are no budgets"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 sizes: \"c\" }"),
              HasSubstr("no size of this sweep: c"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 } budgets { flops: 1e11 }"),
              HasSubstr("are the same run"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e8 }"),
              HasSubstr("no whole number of steps is within 1 %"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 } most_flops: 1e11"),
              HasSubstr("over most_flops"));
  EXPECT_THAT(plan_refusal("sizes { name: \"a/b\" layers: 1 heads: 1 width: 8 } budgets { flops: 1e11 }"),
              HasSubstr("a/b"));
  EXPECT_THAT(plan_refusal("sizes { name: \"odd\" layers: 1 heads: 3 width: 8 } budgets { flops: 1e11 }"),
              HasSubstr("size odd"));
}

}  // namespace
}  // namespace tsugi
