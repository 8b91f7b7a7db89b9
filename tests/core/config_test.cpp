#include "core/config/config.h"

#include <gmock/gmock.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "core/config/nearest.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

// Every required field and nothing else; errors are put on the lines after it.
constexpr char kLeast[] =
    R"(model { layers: 2 heads: 4 width: 64 context: 32 }
data { train: "tokens.bin" }
batch { micro_batch: 3 }
optimizer { learning_rate: 1e-3 }
steps: 100
)";

std::string message_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  try {
    parse_config(text, "run.textproto", overrides, config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "accepted";
}

std::string hint_of(const std::string& text, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  try {
    parse_config(text, "run.textproto", overrides, config);
  } catch (const Error& error) {
    return error.hint();
  }
  return "accepted";
}

std::string with(const std::string& line) { return kLeast + line; }
std::string set(const std::string& assignment) { return message_of(kLeast, {assignment}); }

RunConfig parsed(const std::string& text, const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  parse_config(text, "run.textproto", overrides, config);
  return config;
}

TEST(Config, PresetsFillWhatIsAbsent) {
  const RunConfig config = parsed(kLeast);
  EXPECT_EQ(config.seed(), 1337u);
  EXPECT_EQ(config.name(), "");
  EXPECT_EQ(config.model().dropout(), 0.0f);
  EXPECT_EQ(config.optimizer().beta1(), 0.9f);
  EXPECT_EQ(config.optimizer().epsilon(), 1e-8f);
  EXPECT_EQ(config.schedule().kind(), ScheduleConfig::COSINE);
  EXPECT_EQ(config.schedule().final_fraction(), 0.1f);
  EXPECT_EQ(config.numerics().compute(), NumericsConfig::FP32);
  EXPECT_EQ(config.evaluation().every_steps(), 250);
  EXPECT_EQ(config.dist().timeout_seconds(), 600.0);
  EXPECT_TRUE(config.numerics().has_recompute());
  // What is not chosen of a oneof stays so.
  EXPECT_EQ(config.objective().kind_case(), ObjectiveConfig::KIND_NOT_SET);
}

TEST(Config, WhatIsWrittenWinsOverPresetsEvenWhenZero) {
  const RunConfig config = parsed(with("seed: 0 schedule { kind: WSD }"));
  EXPECT_EQ(config.seed(), 0u);
  EXPECT_EQ(config.schedule().kind(), ScheduleConfig::WSD);
}

TEST(Config, TextFormIsAFixedPoint) {
  RunConfig config = parsed(with("name: \"継ぎ \\\"1\\\"\" seed: 18446744073709551615"),
                            {"optimizer.learning_rate=0.1", "dist.timeout_seconds=0.1e1"});
  const std::string text = to_text(config);
  EXPECT_THAT(text, HasSubstr("name: \"継ぎ \\\"1\\\"\"\n"));
  EXPECT_THAT(text, HasSubstr("kind: COSINE\n"));
  const RunConfig again = parsed(text);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(config, again));
  EXPECT_EQ(to_text(again), text);
}

TEST(Config, FileAndOverrideGiveTheSameBits) {
  for (const char* number : {"0.1", "6e-4", "0.95", "3.0000000596046448", "1e-45", "1"}) {
    const RunConfig written = parsed(with("schedule { final_fraction: 1 } dist { timeout_seconds: 7 }"),
                                     {std::string("optimizer.learning_rate=") + number});
    const RunConfig overridden = parsed(
        "model { layers: 2 heads: 4 width: 64 context: 32 } data { train: \"t\" } "
        "batch { micro_batch: 3 } steps: 100 optimizer { learning_rate: " +
        std::string(number) + " }");
    EXPECT_EQ(written.optimizer().learning_rate(), overridden.optimizer().learning_rate()) << number;
  }
}

TEST(Config, Overrides) {
  const RunConfig config =
      parsed(kLeast, {"steps=7", "data.train=a folder/with=signs", "schedule.kind=WSD", "numerics.recompute=true",
                      "seed = 12", "optimizer.learning_rate=3e-4", "steps=9"});
  EXPECT_EQ(config.steps(), 9);
  EXPECT_EQ(config.data().train(), "a folder/with=signs");
  EXPECT_EQ(config.schedule().kind(), ScheduleConfig::WSD);
  EXPECT_TRUE(config.numerics().recompute());
  EXPECT_EQ(config.seed(), 12u);
  EXPECT_EQ(config.optimizer().learning_rate(), 3e-4f);
}

TEST(Config, AnOverrideCanMendTheFile) {
  EXPECT_EQ(message_of(with("evaluation { every_steps: -1 }"), {"evaluation.every_steps=5"}), "accepted");
}

TEST(Config, UnknownFieldNamesTheNearest) {
  EXPECT_EQ(message_of("optimizer {\n  lerning_rate: 1e-3\n}\n"),
            "run.textproto:2:3: unknown field \"lerning_rate\" in OptimizerConfig; did you mean \"learning_rate\"?");
  EXPECT_EQ(message_of("optimizer {\n  lerning_rate\n\n : 1e-3\n}\n"),
            "run.textproto:2:3: unknown field \"lerning_rate\" in OptimizerConfig; did you mean \"learning_rate\"?");
  EXPECT_EQ(message_of("modle { }"),
            "run.textproto:1:1: unknown field \"modle\" in RunConfig; did you mean \"model\"?");
  EXPECT_EQ(message_of("qqqqqq: 1"), "run.textproto:1:1: unknown field \"qqqqqq\" in RunConfig");
  EXPECT_EQ(hint_of("batch { qqqqqq: 1 }"), "fields of BatchConfig: sequence, micro_batch, micro_batches");
}

TEST(Config, UnknownFieldThatStandsElsewhereIsAnsweredWithItsPath) {
  EXPECT_EQ(
      message_of("learning_rate: 1"),
      "run.textproto:1:1: unknown field \"learning_rate\" in RunConfig; did you mean \"optimizer.learning_rate\"?");
  EXPECT_EQ(message_of("data { micro_batches: 1 }"),
            "run.textproto:1:8: unknown field \"micro_batches\" in DataConfig; did you mean \"batch.micro_batches\"?");
}

TEST(Config, ABlockThatIsNotClosedIsSuspected) {
  EXPECT_EQ(message_of("model {\n  layers: 2\ndata { train: \"x\" }\n"),
            "run.textproto:3:1: \"data\" is a field of RunConfig, not of ModelConfig; is a \"}\" missing before it?");
}

TEST(Config, UnknownEnumValue) {
  EXPECT_EQ(message_of("schedule { # why\n  kind: COSIN\n}"),
            "run.textproto:2:3: unknown value \"COSIN\" of schedule.kind; did you mean \"COSINE\"?");
  EXPECT_EQ(message_of("schedule { kind: wsd }"),
            "run.textproto:1:12: unknown value \"wsd\" of schedule.kind; did you mean \"WSD\"?");
  EXPECT_EQ(hint_of("schedule { kind: EXPONENTIAL }"), "values of schedule.kind: COSINE, LINEAR, CONSTANT, WSD");
  EXPECT_EQ(message_of(with("schedule { kind: 9 }")),
            "run.textproto:6:12: schedule.kind is 9, but must be one of COSINE, LINEAR, CONSTANT, WSD");
}

TEST(Config, WrongType) {
  EXPECT_EQ(message_of("steps: \"many\""), "run.textproto:1:8: steps takes a whole number, not \"\"many\"\"");
  EXPECT_EQ(message_of("steps: 1.5"), "run.textproto:1:8: steps takes a whole number, not \"1.5\"");
  EXPECT_EQ(message_of("steps: 99999999999999999999"),
            "run.textproto:1:8: steps takes a whole number; \"99999999999999999999\" does not fit its type");
  EXPECT_EQ(message_of("seed: -1"), "run.textproto:1:7: seed takes a whole number that is not negative, not \"-\"");
  EXPECT_EQ(message_of("name: tsugi"), "run.textproto:1:7: name takes a string, not \"tsugi\"");
  EXPECT_EQ(message_of("optimizer { beta1: fast }"),
            "run.textproto:1:20: optimizer.beta1 takes a number, not \"fast\"");
  EXPECT_EQ(message_of("numerics { recompute: maybe }"),
            "run.textproto:1:29: numerics.recompute takes true or false, not \"maybe\"");
  EXPECT_EQ(message_of("numerics { compute: \"FP32\" }"),
            "run.textproto:1:21: numerics.compute takes one of FP32, BF16, not \"\"FP32\"\"");
  EXPECT_EQ(message_of("model: 5"), "run.textproto:1:8: model takes a block { … }, not \"5\"");
  EXPECT_EQ(message_of("steps { }"), "run.textproto:1:7: steps needs a \":\" and a value; found \"{\"");
  EXPECT_EQ(message_of("steps 5"), "run.textproto:1:7: steps needs a \":\" and a value; found \"5\"");
}

TEST(Config, Duplicates) {
  EXPECT_EQ(message_of("model { layers: 1 layers: 1 }"), "run.textproto:1:19: model.layers is set twice");
  EXPECT_EQ(message_of("steps: 1\nsteps: 2"), "run.textproto:2:1: steps is set twice");
  EXPECT_EQ(message_of(with("seed: 1 model { }")), "run.textproto:6:9: model is set twice");
  // Also where the first value is the zero of its type.
  EXPECT_EQ(message_of("schedule { kind: COSINE kind: WSD }"), "run.textproto:1:25: schedule.kind is set twice");
  EXPECT_EQ(message_of("numerics { recompute: false recompute: true }"),
            "run.textproto:1:29: numerics.recompute is set twice");
}

TEST(Config, AllRangesAtOnce) {
  EXPECT_EQ(message_of("model { layers: 0 heads: 4 width: 64 context: 32 dropout: 0.99 }\ndata { train: \"\" }\n"
                       "batch { micro_batch: 1 }\noptimizer {\n  learning_rate: 1e-3\n  epsilon: 0\n}\nsteps: -3\n",
                       {"optimizer.beta2=1.5"}),
            "run.textproto:1:9: model.layers is 0, but must be at least 1 and at most 1024\n"
            "run.textproto:1:50: model.dropout is 0.99, but must be at least 0 and at most 0.95\n"
            "run.textproto:2:8: data.train is required, but is empty\n"
            "--set optimizer.beta2=1.5: optimizer.beta2 is 1.5, but must be at least 0 and at most 0.999999\n"
            "run.textproto:6:3: optimizer.epsilon is 0, but must be more than 0 and at most 1\n"
            "run.textproto:8:1: steps is -3, but must be at least 1 and at most 1e+12");
}

TEST(Config, LimitsThemselvesAreInside) {
  EXPECT_EQ(message_of(with("schedule { final_fraction: 1 } evaluation { every_steps: 0 }"),
                       {"model.dropout=0.95", "optimizer.beta2=0.999999", "optimizer.beta1=0.99999"}),
            "accepted");
  EXPECT_EQ(set("optimizer.beta1=0.999991"),
            "--set optimizer.beta1=0.999991: optimizer.beta1 is 0.999991, but must be at least 0 and at most 0.99999");
}

TEST(Config, RequiredFieldsAreNamedWhereTheirBlockStands) {
  EXPECT_EQ(message_of("\n\n  model { layers: 1 heads: 1 context: 8 }\ndata { train: \"x\" }\nsteps: 1"),
            "run.textproto:3:3: model.width is required\n"
            "run.textproto: batch.micro_batch is required\n"
            "run.textproto: optimizer.learning_rate is required");
  EXPECT_THAT(message_of(""), HasSubstr("run.textproto: steps is required"));
}

TEST(Config, NumbersMustBeFinite) {
  for (const char* number : {"nan", "inf", "-inf", "infinity", "1e39", "1e999"}) {
    EXPECT_EQ(message_of("model { layers: 2 heads: 4 width: 64 context: 32 }\ndata { train: \"t\" }\nsteps: 1\n"
                         "batch { micro_batch: 3 }\noptimizer { learning_rate: " +
                         std::string(number) + " }"),
              "run.textproto:5:13: optimizer.learning_rate is not a finite number")
        << number;
  }
  for (const char* number : {"nan", "inf", "-inf", "1e39"}) {
    const std::string assignment = std::string("optimizer.learning_rate=") + number;
    EXPECT_EQ(set(assignment), "--set " + assignment + ": optimizer.learning_rate is not a finite number");
  }
}

TEST(Config, WrongOverrides) {
  EXPECT_EQ(set("steps"), "--set steps: expected path=value");
  EXPECT_EQ(set("optimizer.lr_peak=1"), "--set optimizer.lr_peak=1: unknown field \"lr_peak\" in OptimizerConfig");
  EXPECT_EQ(set("optimiser.beta1=1"),
            "--set optimiser.beta1=1: unknown field \"optimiser\" in RunConfig; did you mean \"optimizer\"?");
  EXPECT_EQ(set("beta1=1"), "--set beta1=1: unknown field \"beta1\" in RunConfig; did you mean \"optimizer.beta1\"?");
  EXPECT_EQ(set("optimizer.=1"), "--set optimizer.=1: unknown field \"\" in OptimizerConfig");
  EXPECT_EQ(set("=1"), "--set =1: unknown field \"\" in RunConfig");
  EXPECT_EQ(set("model=5"), "--set model=5: model is a block of fields and takes no value of its own");
  EXPECT_EQ(set("steps.more=5"), "--set steps.more=5: steps takes a whole number and has no fields");
  EXPECT_EQ(set("steps=5x"), "--set steps=5x: steps takes a whole number, not \"5x\"");
  EXPECT_EQ(set("steps="), "--set steps=: steps takes a whole number, not \"\"");
  EXPECT_EQ(set("steps=99999999999999999999"),
            "--set steps=99999999999999999999: steps takes a whole number; \"99999999999999999999\" does not fit its "
            "type");
  EXPECT_EQ(set("seed=-1"), "--set seed=-1: seed takes a whole number that is not negative, not \"-1\"");
  EXPECT_EQ(set("numerics.recompute=1"),
            "--set numerics.recompute=1: numerics.recompute takes true or false, not \"1\"");
  EXPECT_EQ(set("numerics.compute=bf16"),
            "--set numerics.compute=bf16: unknown value \"bf16\" of numerics.compute; did you mean \"BF16\"?");
}

TEST(Config, HostileText) {
  const auto fails = [](const std::string& text) { EXPECT_NE(message_of(text), "accepted"); };
  std::string deep;
  for (int i = 0; i < 50000; ++i) deep += "model{";
  fails(deep);
  fails(std::string(100000, '{'));
  fails(std::string(100000, '['));
  fails("objective{causal_lm{" + std::string(100000, '<'));
  fails(std::string(500000, 'a') + ": 1");
  fails("steps: " + std::string(500000, '9'));
  fails("name: \"");
  fails("name: \"\\");
  fails("name: '\n'");
  fails(std::string("steps: 1\0 2", 11));
  fails("\xff\xfe");
  fails("}");
  fails("model {");
  fails("[type.googleapis.com/tsugi.RunConfig] { }");
  fails("1: 2");
  fails("model { layers: [1, 2] }");
  EXPECT_EQ(message_of(with("name: \"\\xff\"")), "run.textproto:6:1: name is not UTF-8 text");
  EXPECT_EQ(message_of(with("name: \"a\\000b\"")), "run.textproto:6:1: name is not UTF-8 text");
  EXPECT_EQ(message_of(with("name: \"\\xed\\xa0\\x80\"")), "run.textproto:6:1: name is not UTF-8 text");
  EXPECT_EQ(message_of(std::string((1 << 20) + 1, ' ')), "run.textproto: larger than the limit of 1048576 bytes");
  // An escape sequence in a message to a terminal would be obeyed.
  EXPECT_EQ(set("steps=\x1b[31m"), "--set steps=\\x1b[31m: steps takes a whole number, not \"\\x1b[31m\"");
}

TEST(Config, EveryPrefixOfAConfigIsAnErrorOrAccepted) {
  const std::string text = with("schedule { kind: WSD warmup_steps: 3 } numerics { recompute: true } name: \"n\" 'm'");
  for (size_t i = 0; i < text.size(); ++i) message_of(text.substr(0, i));
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x11);
    message_of(damaged);
  }
}

TEST(Config, LoadConfig) {
  const std::string path = ::testing::TempDir() + "config_test.textproto";
  std::ofstream(path) << kLeast << "sedd: 3\n";
  RunConfig config;
  try {
    load_config(path, {}, config);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.what(), path + ":6:1: unknown field \"sedd\" in RunConfig; did you mean \"seed\"?");
  }
  std::filesystem::remove(path);
  try {
    load_config(path, {}, config);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    EXPECT_EQ(error.what(), "cannot open " + path + ": No such file or directory");
  }
}

std::string rules(const std::vector<std::string>& overrides) {
  RunConfig config = parsed(kLeast, overrides);
  try {
    validate_run(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kUsage);
    return error.what();
  }
  return "accepted";
}

TEST(ValidateRun, ResolvesWhatTheSchemaCannot) {
  RunConfig config = parsed(kLeast);
  validate_run(config);
  EXPECT_EQ(config.batch().sequence(), 32);
  EXPECT_TRUE(config.objective().has_causal_lm());
}

TEST(ValidateRun, RulesBetweenFields) {
  EXPECT_EQ(rules({"model.heads=3", "batch.sequence=33"}),
            "model.width (64) is not a multiple of model.heads (3)\n"
            "batch.sequence (33) is longer than model.context (32)");
  EXPECT_EQ(rules({"model.context=65536", "batch.micro_batch=32768"}),
            "batch.micro_batch (32768) of batch.sequence (65536) are 2^31 tokens or more at once: lower it, and raise "
            "batch.micro_batches");
  EXPECT_EQ(rules({"model.context=65536", "batch.micro_batch=32767"}), "accepted");
  EXPECT_EQ(rules({"schedule.warmup_steps=101"}), "schedule.warmup_steps (101) is more than steps (100)");
  EXPECT_EQ(rules({"schedule.warmup_steps=100"}), "accepted");
  EXPECT_EQ(rules({"schedule.decay_steps=10"}), "schedule.decay_steps (10) has a meaning for kind WSD only");
  EXPECT_EQ(rules({"schedule.kind=WSD", "schedule.warmup_steps=81"}),
            "schedule.warmup_steps (81) and schedule.decay_steps (20) together are more than steps (100)");
  EXPECT_EQ(rules({"schedule.kind=WSD", "schedule.warmup_steps=80"}), "accepted");
  EXPECT_EQ(rules({"steps=1000000000000", "batch.micro_batch=65536", "batch.micro_batches=65536"}),
            "steps (1000000000000) of this batch are more tokens than can be counted (2^61): lower steps");
}

TEST(ValidateRun, Adapters) {
  const std::string of_rank = "adapter.targets and adapter.alpha have a meaning with adapter.rank only";
  EXPECT_EQ(rules({"adapter.alpha=16"}), of_rank);
  EXPECT_EQ(rules({"adapter.alpha=16", "adapter.bottleneck=8"}), of_rank);
  EXPECT_EQ(rules({"adapter.targets=q_proj"}), of_rank);
  EXPECT_EQ(rules({"adapter.alpha=16", "adapter.rank=8"}), "accepted");
  EXPECT_EQ(rules({"adapter.placement=BOTH"}), "adapter.placement has a meaning with adapter.bottleneck only");
  EXPECT_EQ(rules({"adapter.placement=BOTH", "adapter.bottleneck=8"}), "accepted");
  EXPECT_EQ(rules({"adapter.rank=8", "adapter.bottleneck=8"}),
            "adapter.rank and adapter.bottleneck exclude each other");
}

TEST(ValidateRun, KernelsOfAttention) {
  EXPECT_EQ(rules({"compute.attention=WGMMA"}), "accepted");
  EXPECT_EQ(rules({"compute.attention=WGMMA", "model.dropout=0.1"}),
            "compute.attention: WGMMA is not built with dropout: set model.dropout: 0, or compute.attention: MMA");
}

TEST(Nearest, EditDistance) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("heads", "haeds"), 1);  // a swap
  EXPECT_EQ(edit_distance("ca", "abc"), 3);       // no edit of a swapped pair: 2 without that rule
}

TEST(Nearest, NothingIsBetterThanAWrongGuess) {
  const std::vector<std::string> names = {"learning_rate", "beta1", "beta2"};
  EXPECT_EQ(nearest_name("LEARNING_RATE", names), "learning_rate");
  EXPECT_EQ(nearest_name("beta", names), "beta1");
  EXPECT_EQ(nearest_name("gamma", names), "");
  EXPECT_EQ(nearest_name("", names), "");
}

}  // namespace
}  // namespace tsugi
