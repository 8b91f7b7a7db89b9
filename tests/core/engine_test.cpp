// The engine: the same bits for any number of ranks and threads, with and without recomputation; gradients that are
// derivatives of the loss; memory as planned.
#include "core/train/engine.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>

#include "core/config/config.h"
#include "core/objective/causal_lm.h"
#include "ops/base/error.h"
#include "ops/base/profile_range.h"
#include "tests/dist/thread_communicator.h"

namespace tsugi {
namespace {

constexpr int64_t kVocabulary = 37;

/// A token file with a learnable pattern.
std::string make_tokens() {
  const std::string path = ::testing::TempDir() + "engine_test." + std::to_string(getpid()) + ".bin";
  TokenFileWriter writer(path, kVocabulary);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 4000; ++i) tokens.push_back(static_cast<int32_t>((i * i + 3 * i) % kVocabulary));
  writer.add_document(tokens);
  writer.finish();
  return path;
}

RunConfig make_config(const std::string& overrides = "") {
  RunConfig config;
  parse_config(R"(
      steps: 3
      model { layers: 2 heads: 2 width: 24 context: 16 vocabulary: 37 dropout: 0.1 }
      data { train: "unused" }
      batch { micro_batch: 2 micro_batches: 12 }
      optimizer { learning_rate: 1e-2 }
      dist { bucket_megabytes: 1 }
  )" + overrides,
               "test", {}, config);
  validate_run(config);
  return config;
}

/// Losses, norms and the final weights of a few steps.
struct Outcome {
  std::vector<double> losses;
  std::vector<double> norms;
  std::string weights;
  double validation = 0.0;
};

Outcome train_rank(Communicator& communicator, const std::string& tokens, const RunConfig& config, int threads) {
  ThreadPool pool(threads);
  CausalLm objective(TokenFile::open(tokens), TokenFile::open(tokens), kVocabulary, 16, config.seed());
  Engine engine(pool, communicator, config, objective, {});
  engine.optimizer().initialize(config.seed());
  Outcome outcome;
  for (int64_t step = 0; step < config.steps(); ++step) {
    const StepReport report = engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), 1e-2f);
    EXPECT_TRUE(report.finite);
    EXPECT_EQ(report.targets, engine.samples_per_step() * 16);
    outcome.losses.push_back(report.loss);
    outcome.norms.push_back(report.gradient_norm);
  }
  const Tensor& weights = engine.store().working();
  outcome.weights.assign(static_cast<const char*>(weights.raw()), weights.bytes());
  outcome.validation = engine.evaluate().loss;
  return outcome;
}

Outcome train_ranks(int ranks, const RunConfig& config, int threads) {
  const std::string tokens = make_tokens();
  std::vector<Outcome> outcomes(static_cast<size_t>(ranks));
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    outcomes[static_cast<size_t>(communicator.rank())] = train_rank(communicator, tokens, config, threads);
  });
  for (const Outcome& other : outcomes) {
    EXPECT_EQ(other.losses, outcomes[0].losses);
    EXPECT_EQ(other.weights, outcomes[0].weights) << "ranks hold different weights";
  }
  return outcomes[0];
}

void expect_same(const Outcome& a, const Outcome& b) {
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_EQ(a.norms, b.norms);
  EXPECT_EQ(a.validation, b.validation);
  EXPECT_TRUE(a.weights == b.weights);
}

class EngineBits : public ::testing::TestWithParam<const char*> {};

TEST_P(EngineBits, DoNotDependOnRanksOrThreads) {
  const RunConfig config = make_config(GetParam());
  const Outcome alone = train_ranks(1, config, 1);
  EXPECT_LT(alone.losses.back(), alone.losses.front());
  for (const int ranks : {2, 3, 4, 5, 6, 12}) {
    SCOPED_TRACE(ranks);
    expect_same(train_ranks(ranks, config, 1), alone);
  }
  for (const int threads : {2, 3}) {
    SCOPED_TRACE(threads);
    expect_same(train_ranks(1, config, threads), alone);
  }
  expect_same(train_ranks(2, config, 2), alone);
}

INSTANTIATE_TEST_SUITE_P(Types, EngineBits, ::testing::Values("", "numerics { compute: BF16 }"),
                         [](const auto& parameter) { return std::string(parameter.index == 0 ? "fp32" : "bf16"); });

TEST(Engine, NamesThePhasesOfAStepForProfilers) {
  static std::string said;
  said.clear();
  profile_listener() = {[](const char* name) { said += std::string(name) + "("; }, [] { said += ") "; }};
  RunConfig config = make_config();
  config.set_steps(1);
  config.mutable_batch()->set_micro_batches(2);
  train_ranks(1, config, 1);
  profile_listener() = {};
  EXPECT_EQ(said,
            "step(forward() backward() forward() backward() reduce gradients() optimizer() gather parameters() ) "
            "evaluation() ");
}

TEST(Engine, RecomputationChangesNoBit) {
  const Outcome kept = train_ranks(2, make_config(), 1);
  const Outcome recomputed = train_ranks(2, make_config("numerics { recompute: true }"), 1);
  expect_same(kept, recomputed);
}

TEST(Engine, RecomputationNeedsLessMemory) {
  const std::string tokens = make_tokens();
  std::vector<int64_t> bytes;
  for (const char* recompute : {"false", "true"}) {
    RunConfig config = make_config(std::string("numerics { recompute: ") + recompute + " }");
    config.mutable_model()->set_layers(8);
    ThreadPool pool(1);
    const auto alone = make_local_communicator();
    CausalLm objective(TokenFile::open(tokens), std::nullopt, kVocabulary, 16, 1);
    Engine engine(pool, *alone, config, objective, {});
    bytes.push_back(engine.memory().training_arena);
  }
  EXPECT_LT(bytes[1], bytes[0] / 2);
}

TEST(Engine, FrozenTensorsStayAndTheOthersLearn) {
  const std::string tokens = make_tokens();
  const RunConfig config = make_config();
  ThreadPool pool(1);
  const auto alone = make_local_communicator();
  CausalLm objective(TokenFile::open(tokens), std::nullopt, kVocabulary, 16, 1);
  const auto frozen = [](const ParameterInfo& info) {
    return info.name.starts_with("transformer.w") || info.name.starts_with("transformer.h.0.");
  };
  Engine engine(pool, *alone, config, objective, frozen);
  engine.optimizer().initialize(1);
  std::vector<std::string> before;
  const auto bytes_of = [&](size_t t) {
    const Tensor value = engine.store().value(static_cast<int>(t));
    return std::string(static_cast<const char*>(value.raw()), value.bytes());
  };
  for (size_t t = 0; t < engine.store().tensors().size(); ++t) before.push_back(bytes_of(t));
  for (int64_t step = 0; step < 2; ++step) engine.step(step + 1, 0, 1e-2f);
  for (size_t t = 0; t < engine.store().tensors().size(); ++t) {
    const ParameterInfo& info = engine.store().tensors()[t];
    EXPECT_EQ(bytes_of(t) == before[t], frozen(info)) << info.name;
  }
}

// Gradients of frozen tensors take no part in anything: without clipping, the first update of the others has the bits
// of training everything, on any number of ranks.
TEST(Engine, FrozenTensorsTakeNoMemoryAndChangeNoBitOfTheOthers) {
  const std::string tokens = make_tokens();
  RunConfig config = make_config();
  config.mutable_optimizer()->set_clip_norm(0.0f);
  const auto frozen = [](const ParameterInfo& info) {
    return info.name.starts_with("transformer.w") || info.name.starts_with("transformer.h.0.attn") ||
           info.name.starts_with("transformer.ln_f") || info.name.find(".mlp.") != std::string::npos;
  };
  const auto after_a_step = [&](int ranks, const std::function<bool(const ParameterInfo&)>& predicate,
                                MemoryPlan& memory) {
    std::map<std::string, std::string> values;
    testing::run_ranks(ranks, [&](Communicator& communicator) {
      ThreadPool pool(1);
      CausalLm objective(TokenFile::open(tokens), std::nullopt, kVocabulary, 16, 1);
      Engine engine(pool, communicator, config, objective, predicate);
      engine.optimizer().initialize(1);
      engine.step(1, 0, 1e-2f);
      if (communicator.rank() > 0) return;
      memory = engine.memory();
      for (size_t t = 0; t < engine.store().tensors().size(); ++t) {
        const Tensor value = engine.store().value(static_cast<int>(t));
        values[engine.store().tensors()[t].name] = std::string(static_cast<const char*>(value.raw()), value.bytes()) +
                                                   (frozen(engine.store().tensors()[t]) ? "*" : "");
      }
    });
    return values;
  };
  MemoryPlan whole;
  const auto expected = after_a_step(1, {}, whole);
  for (const int ranks : {1, 2}) {
    MemoryPlan part;
    for (const auto& [name, value] : after_a_step(ranks, frozen, part)) {
      EXPECT_EQ(value == expected.at(name), !value.ends_with("*")) << name << " on " << ranks << " ranks";
    }
    if (ranks > 1) continue;
    EXPECT_LT(part.gradients, whole.gradients / 2);
    EXPECT_LT(part.optimizer, whole.optimizer / 2);
    EXPECT_LE(part.training_arena, whole.training_arena);
  }
}

TEST(Engine, MoreRanksThanMicroBatchesIsRefused) {
  const std::string tokens = make_tokens();
  testing::run_ranks(2, [&](Communicator& communicator) {
    RunConfig config = make_config();
    config.mutable_batch()->set_micro_batches(1);
    ThreadPool pool(1);
    CausalLm objective(TokenFile::open(tokens), std::nullopt, kVocabulary, 16, 1);
    EXPECT_THROW(Engine(pool, communicator, config, objective, {}), Error);
  });
}

// The derivative of the loss along a random direction, by central differences of the fp32 loss.
TEST(Engine, GradientIsTheDerivativeOfTheLoss) {
  const std::string tokens = make_tokens();
  RunConfig config = make_config();
  HeapMemory memory;
  ThreadPool pool(1);
  const Context context(Device{}, pool, memory);
  ParameterStore store;
  const Transformer model(config.model(), store);
  store.allocate(context, DType::kF32);
  store.initial_values(7, 0, store.chunks(), store.working().data<float>());
  const Tensor gradients = context.empty({store.chunks() * kChunkElements}, DType::kF32);
  std::memset(gradients.raw(), 0, gradients.bytes());
  store.bind_gradients(gradients);
  CausalLm objective(TokenFile::open(tokens), std::nullopt, kVocabulary, 16, 1);
  const Batch batch = objective.training_batch(0, 2);
  ForwardOptions options;
  options.dropout = {0.1f, 5, 0};
  {
    Tape tape(context);
    objective.loss(tape, model, batch, options);
    tape.backward();
  }
  const auto loss_at = [&] {
    Tape tape(context);  // recording: dropout acts as it did
    return objective.loss(tape, model, batch, options).sum;
  };
  for (size_t t = 0; t < store.tensors().size(); ++t) {
    const Tensor value = store.value(static_cast<int>(t));
    const Tensor gradient = store.gradient(static_cast<int>(t));
    const int64_t count = store.tensors()[t].elements();
    std::vector<float> direction(static_cast<size_t>(count));
    double expected = 0.0;
    for (int64_t i = 0; i < count; ++i) {
      const RandomStream stream{99, t, 0};
      direction[static_cast<size_t>(i)] = stream.word(static_cast<uint64_t>(i)) & 1u ? 1.0f : -1.0f;
      expected += static_cast<double>(direction[static_cast<size_t>(i)] * gradient.data<float>()[i]);
    }
    const float step = 2e-3f;
    const auto move = [&](float by) {
      for (int64_t i = 0; i < count; ++i) value.data<float>()[i] += by * direction[static_cast<size_t>(i)];
    };
    move(step);
    const double above = loss_at();
    move(-2.0f * step);
    const double below = loss_at();
    move(step);
    const double numeric = (above - below) / (2.0 * static_cast<double>(step));
    EXPECT_NEAR(numeric, expected, 0.02 * std::fabs(expected) + 0.05) << store.tensors()[t].name;
    std::memset(gradients.raw(), 0, gradients.bytes());
    Tape tape(context);
    objective.loss(tape, model, batch, options);
    tape.backward();
  }
}

}  // namespace
}  // namespace tsugi
