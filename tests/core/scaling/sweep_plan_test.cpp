#include "core/scaling/plan/sweep_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/config/config.h"
#include "core/optim/schedule.h"
#include "core/scaling/plan/centred_sizes.h"
#include "core/scaling/plan/plan_notes.h"
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

TEST(SweepPlan, RunsShareATrunkAndItIsCountedOnce) {
  const SweepPlan sweep = plan(std::string(kSizes) +
                               "budgets { flops: 1e11 } budgets { flops: 4e11 } budgets { flops: 2e11 sizes: \"a\" } "
                               "budgets { flops: 2e11 sizes: \"b\" seeds: 2 } decay_fraction: 0.25");
  ASSERT_EQ(sweep.runs.size(), 7u);
  ASSERT_EQ(sweep.segments.size(), 6u);  // three of each size; the second seed is alone
  double flops = 0.0, apart = 0.0;
  int branches = 0;
  for (const PlannedRun& run : sweep.runs) {
    const ScheduleConfig& schedule = run.config.schedule();
    EXPECT_EQ(schedule.kind(), ScheduleConfig::WSD);
    EXPECT_EQ(schedule.decay_steps(), std::lround(0.25 * static_cast<double>(run.config.steps())));
    flops += run.cost;
    apart += run.flops;
    if (run.segment < 0) {
      EXPECT_EQ(run.config.seed(), 1338u);
      EXPECT_EQ(run.cost, run.flops);
      continue;
    }
    ++branches;
    const PlannedSegment& segment = sweep.segments[static_cast<size_t>(run.segment)];
    EXPECT_EQ(segment.config.steps(), run.config.steps() - schedule.decay_steps());
    EXPECT_EQ(run.first_step, segment.config.steps());
    EXPECT_EQ(segment.config.schedule().warmup_steps(), schedule.warmup_steps());
    // Up to there both have the same rates.
    for (int64_t step = 0; step < run.first_step; step += 7) {
      EXPECT_EQ(learning_rate_at(run.config.optimizer(), schedule, run.config.steps(), step),
                learning_rate_at(segment.config.optimizer(), segment.config.schedule(), segment.config.steps(), step));
    }
    // The warm-up is the shortest run's.
    const PlannedRun& shortest = sweep.runs[run.size == "a" ? 0 : 1];
    EXPECT_EQ(schedule.warmup_steps(), std::lround(0.05 * static_cast<double>(shortest.config.steps())));
  }
  EXPECT_EQ(branches, 6);
  for (const PlannedSegment& segment : sweep.segments) {
    flops += segment.flops;
    if (segment.before < 0) {
      EXPECT_EQ(segment.first_step, 0);
    } else {
      EXPECT_EQ(segment.first_step, sweep.segments[static_cast<size_t>(segment.before)].config.steps());
    }
  }
  EXPECT_NEAR(sweep.flops / flops, 1.0, 1e-12);
  EXPECT_NEAR(sweep.flops_apart / apart, 1.0, 1e-12);
  // Two sizes of 1, 2 and 4e11: three quarters of 1 and 2e11 are trained within the trunk of 4e11. And one run alone.
  EXPECT_NEAR(sweep.flops, 2 * (7e11 - 0.75 * 3e11) + 2e11, 2e10);
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 } decay_fraction: 1.0"),
              HasSubstr("of warm-up and"));
}

TEST(SweepPlan, FineTuningHasAnIdentityOfItsOwn) {
  const std::string text = std::string(kSizes) + "budgets { flops: 1e11 } downstream { train: \"t\" validation: \"v\" ";
  SweepConfig sweep;
  const auto planned = [&](const std::string& more, const DownstreamFacts& facts) {
    parse_config("base: \"base\" learning_rate { value: 1e-2 } " + text + more + "}", "sweep", {}, sweep);
    return plan_sweep(sweep, "sweep", base(), {{"training data", "1"}}, facts);
  };
  const DownstreamFacts facts{"f", 100};
  const SweepPlan plain = planned("", facts);
  EXPECT_EQ(plain.runs[0].downstream_id.size(), 16u);
  EXPECT_NE(plain.runs[0].downstream_id, plain.runs[1].downstream_id);
  EXPECT_EQ(planned("epochs: 3 ", facts).runs[0].id, plain.runs[0].id);
  EXPECT_NE(planned("epochs: 3 ", facts).runs[0].downstream_id, plain.runs[0].downstream_id);
  EXPECT_NE(planned("", {"g", 100}).runs[0].downstream_id, plain.runs[0].downstream_id);
  // 10 epochs of 100 texts of 64 tokens.
  EXPECT_NEAR(plain.runs[0].downstream_flops, 64000 * plain.runs[0].flops / plain.runs[0].tokens, 1.0);
  EXPECT_NEAR(
      plain.flops,
      plain.runs[0].flops + plain.runs[1].flops + plain.runs[0].downstream_flops + plain.runs[1].downstream_flops, 1e3);
}

TEST(SweepPlan, SizesAreCentredOnTheOptimum) {
  SweepConfig sweep;
  const auto centred = [&](const std::string& text, double optimum) {
    parse_config("base: \"base\" learning_rate { value: 1e-2 } " + text, "sweep", {}, sweep);
    std::vector<std::string> notes;
    centre_sizes(sweep, "sweep", base(), [&](double flops) { return optimum * std::sqrt(flops / 1e12); }, notes);
    return plan_sweep(sweep, "sweep", base(), {{"training data", "1"}});
  };
  const std::string rule = "shapes { width_multiple: 8 head_width: 8 aspect: 32 } ";
  const SweepPlan two =
      centred(rule + "budgets { flops: 1e12 centred_sizes: 5 } budgets { flops: 4e12 centred_sizes: 5 }", 3e5);
  ASSERT_EQ(two.runs.size(), 10u);
  for (const size_t first : {size_t{0}, size_t{5}}) {
    const double optimum = first == 0 ? 3e5 : 6e5;
    double largest = 0.0, smallest = HUGE_VAL;
    int below = 0;
    for (size_t i = first; i < first + 5; ++i) {
      const PlannedRun& run = two.runs[i];
      const double n = static_cast<double>(run.parameters_in_products);
      largest = std::max(largest, n);
      smallest = std::min(smallest, n);
      below += n < optimum ? 1 : 0;
      EXPECT_EQ(run.config.model().layers(), std::max<int64_t>(1, std::lround(run.config.model().width() / 32.0)));
      EXPECT_EQ(run.config.model().width() % 8, 0);
    }
    EXPECT_NEAR(largest / smallest, 8.0, 2.5);
    EXPECT_NEAR(std::sqrt(largest * smallest) / optimum, 1.0, 0.25);
    EXPECT_GE(below, 2);
    EXPECT_LE(below, 3);
  }
  const auto refused = [&](const std::string& text, double optimum) -> std::string {
    try {
      centred(text, optimum);
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(refused(rule + kSizes + "budgets { flops: 1e12 centred_sizes: 5 sizes: \"a\" }", 3e5),
              HasSubstr("both sizes and centred_sizes"));
  EXPECT_THAT(refused(rule + "budgets { flops: 1e12 centred_sizes: 5 }", 300),
              HasSubstr("no shape of the rule has about"));
  EXPECT_THAT(refused("shapes { width_multiple: 24 } budgets { flops: 1e12 centred_sizes: 2 }", 3e5),
              HasSubstr("head_width 16 does not divide"));
  EXPECT_THAT(refused(rule + "sizes { name: \"w64l2\" layers: 7 heads: 1 width: 8 } "
                             "budgets { flops: 1e12 centred_sizes: 1 }",
                      116480),
              HasSubstr("another shape"));
}

// What plans were before grids and ladders: results of sweeps that ran then are still found.
TEST(SweepPlan, KnownRunsKeepTheirIds) {
  const SweepPlan sweep = plan(std::string(kSizes) + "budgets { flops: 1e11 }");
  EXPECT_EQ(sweep.runs[0].id, "ca0851aef7e3fece");
  EXPECT_EQ(sweep.runs[1].id, "d1e7048400321d74");
  const SweepPlan trunks =
      plan(std::string(kSizes) + "budgets { flops: 1e11 } budgets { flops: 2e11 } decay_fraction: 0.2");
  EXPECT_EQ(trunks.segments[0].id, "9ef10f77d11603d4");
}

TEST(SweepPlan, GridsCrossRatesAndBatches) {
  const SweepPlan sweep = plan(std::string(kSizes) +
                               "budgets { flops: 1e11 } grid { learning_rates: 1e-3 learning_rates: 3e-3 "
                               "batch_tokens: 256 batch_tokens: 512 batch_tokens: 1024 }");
  ASSERT_EQ(sweep.runs.size(), 12u);
  EXPECT_EQ(sweep.runs[4].name, "c1e+11-a-s1337-lr0.003-b512");
  std::set<std::pair<float, int>> settings;
  for (const PlannedRun& run : sweep.runs) {
    if (run.size != "a") continue;
    settings.emplace(run.config.optimizer().learning_rate(), run.config.batch().micro_batches());
    EXPECT_NEAR(run.tokens / sweep.runs[0].tokens, 1.0, 0.01);
    EXPECT_NEAR(run.flops, 1e11, 1e9);
  }
  // A micro-batch is 4 · 64 tokens.
  EXPECT_EQ(settings,
            (std::set<std::pair<float, int>>{{1e-3f, 1}, {1e-3f, 2}, {1e-3f, 4}, {3e-3f, 1}, {3e-3f, 2}, {3e-3f, 4}}));
  // A point of the grid is the run that it would be alone.
  const std::string budget = std::string(kSizes) + "budgets { flops: 1e11 } ";
  RunConfig twice = base();
  twice.mutable_batch()->set_micro_batches(2);
  EXPECT_EQ(plan(budget, twice).runs[0].id, plan(budget + "grid { batch_tokens: 512 }").runs[0].id);
  // Runs of other settings share no trunk.
  const SweepPlan trunks = plan(std::string(kSizes) +
                                "budgets { flops: 1e11 } budgets { flops: 2e11 } decay_fraction: 0.2 "
                                "grid { learning_rates: 1e-3 learning_rates: 3e-3 }");
  EXPECT_EQ(trunks.segments.size(), 8u);
  for (const PlannedRun& run : trunks.runs) {
    const PlannedSegment& segment = trunks.segments[static_cast<size_t>(run.segment)];
    EXPECT_EQ(segment.config.optimizer().learning_rate(), run.config.optimizer().learning_rate());
  }
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 } grid { batch_tokens: 300 }"),
              HasSubstr("300 is no multiple of a micro-batch's 256 tokens"));
}

TEST(SweepPlan, LaddersHaveTokensPerParameter) {
  const SweepPlan sweep = plan(std::string(kSizes) +
                               "ladders { tokens_per_parameter: 10 tokens_per_parameter: 40 } "
                               "ladders { tokens_per_parameter: 80 sizes: \"b\" seeds: 2 held_out: true }");
  ASSERT_EQ(sweep.runs.size(), 6u);
  EXPECT_EQ(sweep.runs[3].name, "r40-b-s1337");
  EXPECT_EQ(sweep.runs[5].config.seed(), 1338u);
  for (const PlannedRun& run : sweep.runs) {
    EXPECT_NEAR(run.tokens / static_cast<double>(run.parameters_in_products) / run.ratio, 1.0, 0.01);
    EXPECT_EQ(run.budget, run.flops);
    EXPECT_EQ(run.held_out, run.ratio == 80.0);
  }
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "ladders { }"), HasSubstr("no tokens_per_parameter"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "ladders { tokens_per_parameter: 1e-4 }"), HasSubstr("within 1 %"));
}

// Li et al. 2025: B = 0.58 D^0.571 tokens; DeepSeek LLM: 0.292 C^0.3271.
TEST(SweepPlan, BatchesByRule) {
  const SweepPlan of_tokens = plan(std::string(kSizes) +
                                   "ladders { tokens_per_parameter: 100 } "
                                   "batch { coefficient: 0.58 tokens_power: 0.571 }");
  const SweepPlan of_flops =
      plan(std::string(kSizes) + "budgets { flops: 1e12 } batch { coefficient: 0.292 flops_power: 0.3271 }");
  for (const PlannedRun& run : of_tokens.runs) {
    EXPECT_EQ(run.config.batch().micro_batches(),
              std::lround(0.58 * std::pow(run.ratio * static_cast<double>(run.parameters_in_products), 0.571) / 256));
    EXPECT_GT(run.config.batch().micro_batches(), 2);
  }
  for (const PlannedRun& run : of_flops.runs) {
    EXPECT_EQ(run.config.batch().micro_batches(), std::lround(0.292 * std::pow(1e12, 0.3271) / 256));
    EXPECT_NEAR(run.flops, 1e12, 1e10);
  }
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e12 } batch { coefficient: 1e10 }"),
              HasSubstr("no step has more than 65536"));
}

TEST(SweepPlan, ConventionsOfCompute) {
  const PlannedRun run = plan(std::string(kSizes) + "budgets { flops: 1e11 }").runs[1];
  const double in_blocks = 3 * (12 * 64 * 64 + 13 * 64) + 2 * 64;
  const double attention = 12.0 * 3 * 64 * 64 * run.tokens;
  EXPECT_NEAR(run.flops - run.flops_6nd, attention, 1.0);
  EXPECT_NEAR(run.flops_causal - run.flops_6nd, attention / 2, 1.0);
  EXPECT_EQ(run.flops_without_embeddings, 6 * in_blocks * run.tokens);
}

TEST(SweepPlan, NotesSayWhatNoFitWillTell) {
  const auto notes = [](const std::string& text) {
    std::string all;
    for (const std::string& note : plan_notes(plan(text))) all += note + "\n";
    return all;
  };
  const std::string one = "sizes { name: \"a\" layers: 2 heads: 2 width: 32 } ";
  std::string four = kSizes;
  four += "sizes { name: \"c\" layers: 1 heads: 2 width: 32 } sizes { name: \"d\" layers: 4 heads: 4 width: 64 } ";
  EXPECT_EQ(notes(four + "budgets { flops: 1e11 } budgets { flops: 2e11 } budgets { flops: 8e11 held_out: true }"), "");
  EXPECT_EQ(notes(four + "ladders { tokens_per_parameter: 20 tokens_per_parameter: 40 }"), "");
  EXPECT_THAT(notes(one + "budgets { flops: 1e11 } budgets { flops: 2e11 }"), HasSubstr("have one size, N = "));
  EXPECT_THAT(notes(four + "budgets { flops: 1e11 }"), HasSubstr("have one budget, 1e+11 FLOPs"));
  EXPECT_THAT(notes(std::string(kSizes) + "budgets { flops: 1e11 } budgets { flops: 2e11 }"),
              HasSubstr("fewer than four sizes: 1e+11 (2), 2e+11 (2)"));
  EXPECT_THAT(notes(four + "budgets { flops: 1e11 } budgets { flops: 2e11 } "
                           "budgets { flops: 1.5e11 held_out: true }"),
              HasSubstr("it tests interpolation"));
  EXPECT_THAT(notes(four + "ladders { tokens_per_parameter: 20 }"), HasSubstr("N and D rise together"));
  EXPECT_THAT(plan_refusal(four + "budgets { flops: 1e11 held_out: true }"), HasSubstr("every run is held out"));
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
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e30 }"), HasSubstr("no run has more than 1e12"));
  EXPECT_THAT(plan_refusal(std::string(kSizes) + "budgets { flops: 1e11 } most_flops: 1e11"),
              HasSubstr("over most_flops"));
  EXPECT_THAT(plan_refusal("sizes { name: \"a/b\" layers: 1 heads: 1 width: 8 } budgets { flops: 1e11 }"),
              HasSubstr("a/b"));
  EXPECT_THAT(plan_refusal("sizes { name: \"odd\" layers: 1 heads: 3 width: 8 } budgets { flops: 1e11 }"),
              HasSubstr("size odd"));
}

}  // namespace
}  // namespace tsugi
