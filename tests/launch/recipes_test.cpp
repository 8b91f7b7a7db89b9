// The recipes: each is a valid run, and the sums in its comments are right.
#include <gtest/gtest.h>

#include <filesystem>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/optim/schedule.h"
#include "core/scaling/flops.h"
#include "core/scaling/plan/sweep_plan.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

const std::string kFolder = TSUGI_SOURCE_DIR "/launch/recipes";

RunConfig recipe(const std::string& name, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  load_config(kFolder + "/" + name, overrides, config);
  validate_run(config);
  return config;
}

/// A sweep over bytes.
SweepPlan sweep(const std::string& name) {
  const std::string path = kFolder + "/" + name;
  SweepConfig config;
  load_config(path, {}, config);
  RunConfig base;
  load_config(kFolder + "/sweeps/" + config.base(), {"model.vocabulary=256"}, base);
  return plan_sweep(config, path, base, {});
}

TEST(Recipes, TenMinutesOfSweep) {
  const SweepPlan plan = sweep("sweeps/cpu_10min.textproto");
  double largest_fitted = 0.0, smallest_held_out = 1e30;
  for (const PlannedRun& run : plan.runs) {
    if (run.held_out) {
      smallest_held_out = std::min(smallest_held_out, run.flops);
    } else {
      largest_fitted = std::max(largest_fitted, run.flops);
    }
  }
  EXPECT_GE(smallest_held_out / largest_fitted, 2.4);
  EXPECT_LT(plan.flops, 2e13);  // ten minutes of 33 GFLOP/s
}

TEST(Recipes, EachIsAValidRun) {
  int recipes = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(kFolder)) {
    if (entry.path().extension() != ".textproto") continue;
    SCOPED_TRACE(entry.path());
    ++recipes;
    const std::string name = entry.path().lexically_relative(kFolder).string();
    const bool is_sweep = name.starts_with("sweeps/") && !name.ends_with("_base.textproto");
    try {
      if (is_sweep) {
        sweep(name);
      } else {
        recipe(name);
      }
    } catch (const Error& error) {
      ADD_FAILURE() << error.what();
    }
  }
  EXPECT_GE(recipes, 8);
}

int64_t tokens_per_step(const RunConfig& config) {
  return int64_t{config.batch().micro_batch()} * config.batch().micro_batches() * config.batch().sequence();
}

TEST(Recipes, Shakespeare) {
  // --vocabulary characters finds 65.
  const RunConfig config = recipe("shakespeare_char_cpu.textproto", {"model.vocabulary=65"});
  EXPECT_EQ(count_parameters(config.model()).total, 809856);
  EXPECT_EQ(count_parameters(config.model()).in_products, 801664);
  EXPECT_EQ(tokens_per_step(config), 12 * 64);
  const double flops = flops_per_token(config.model(), config.batch().sequence()).palm;
  EXPECT_NEAR(flops / 1e6, 5.2, 0.05);
  EXPECT_NEAR(flops * 768 * 2000 / 1e12, 8.0, 0.05);
  EXPECT_NEAR(flops / 3 * 111540 * 8 / 1e12, 1.55, 0.05);
  EXPECT_NEAR(learning_rate_at(config.optimizer(), config.schedule(), config.steps(), 2000), 1e-4, 1e-10);
  // nanoGPT's hyperparameters.
  EXPECT_EQ(config.optimizer().beta2(), 0.99f);
  EXPECT_EQ(config.optimizer().weight_decay(), 0.1f);
  EXPECT_EQ(config.optimizer().clip_norm(), 1.0f);
  EXPECT_EQ(config.schedule().warmup_steps(), 100);
  // The other cut of the same batch.
  const RunConfig many = recipe("shakespeare_char_cpu.textproto", {"batch.micro_batch=1", "batch.micro_batches=12"});
  EXPECT_EQ(tokens_per_step(many), tokens_per_step(config));
}

TEST(Recipes, Mnist) {
  const int64_t body = 154432;
  for (const auto& [name, head] : {std::pair{"mnist_rotation", 4 * 65},
                                   {"mnist_jigsaw", 24 * 65},
                                   {"mnist_relative_position", 64 * 65 + 64 * 64 + 8 * 65},
                                   {"mnist_mae", 12 * 64 * 64 + 13 * 64 + 128 + (17 + 2 + 64) * 64 + 49 * 65}}) {
    SCOPED_TRACE(name);
    const RunConfig config = recipe(std::string(name) + ".textproto");
    EXPECT_EQ(count_parameters(config.model()).total, body);
    const std::string total = std::to_string(body + head);
    const std::string text = read_file(kFolder + "/" + name + ".textproto", 1 << 20);
    EXPECT_NE(text.find(total.substr(0, 3) + "," + total.substr(3)), std::string::npos) << total;
  }
}

TEST(Recipes, Gpt2) {
  const RunConfig config = recipe("gpt2_124m.textproto");
  EXPECT_EQ(count_parameters(config.model()).total, 124439808);
  EXPECT_EQ(count_parameters(config.model()).in_products, 123653376);
  EXPECT_EQ(tokens_per_step(config), 524288);
  const double flops = flops_per_token(config.model(), config.batch().sequence()).palm;
  EXPECT_NEAR(flops / 1e6, 855, 0.5);
  EXPECT_NEAR(flops * 524288 / 1e12, 448, 0.5);
  EXPECT_NEAR(flops * 524288 * 18865 / 1e18, 8.5, 0.05);
  EXPECT_EQ(learning_rate_at(config.optimizer(), config.schedule(), config.steps(), config.steps()), 0.0f);
  recipe("gpt2_124m.textproto",
         {"batch.micro_batches=1", "steps=20", "schedule.warmup_steps=5", "evaluation.sequences=4"});
}

TEST(Recipes, Llama) {
  const RunConfig config = recipe("llama_char_cpu.textproto", {"model.vocabulary=65"});
  EXPECT_EQ(count_parameters(config.model()).total, 795904);
  EXPECT_EQ(count_parameters(config.model()).in_products, 795904);
  const double flops = flops_per_token(config.model(), config.batch().sequence()).palm;
  EXPECT_NEAR(flops / 1e6, 5.2, 0.05);
  EXPECT_NEAR(flops * 768 * 2000 / 1e12, 7.9, 0.05);
}

TEST(Recipes, PublishedShapes) {
  const auto parameters = [](const std::string& name) {
    return count_parameters(recipe("shapes/" + name + ".textproto").model()).total;
  };
  EXPECT_EQ(parameters("llama2_7b"), 6738415616);
  EXPECT_EQ(parameters("llama3_8b"), 8030261248);
  EXPECT_EQ(parameters("llama3_2_1b"), 1235814400);
  EXPECT_EQ(parameters("qwen2_5_0_5b"), 494032768);
  EXPECT_EQ(parameters("qwen3_0_6b"), 596049920);
}

}  // namespace
}  // namespace tsugi
