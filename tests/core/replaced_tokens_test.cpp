// Replaced-token detection: what is drawn, what is asked, where gradients go, and the same bits on any number of ranks.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>

#include "core/config/config.h"
#include "core/objective/replaced_token_detection.h"
#include "core/train/engine.h"
#include "ops/base/error.h"
#include "tests/dist/thread_communicator.h"
#include "tests/ops/contrastive_testing.h"

namespace tsugi {
namespace {

constexpr int64_t kReplacedVocabulary = 20;

RunConfig replaced_config(const std::vector<std::string>& overrides = {}) {
  RunConfig config;
  parse_config(R"(
      steps: 3
      model { family: ELECTRA layers: 2 heads: 2 width: 16 context: 12 vocabulary: 20 }
      data { train: "unused" }
      batch { micro_batch: 3 micro_batches: 4 }
      optimizer { learning_rate: 3e-3 }
      dist { bucket_megabytes: 1 }
      objective { replaced_token_detection { probability: 0.25 mask_token: 19 generator_width: 8 generator_layers: 1 } })",
               "test", overrides, config);
  validate_run(config);
  return config;
}

/// Documents of 5 to 12 tokens.
std::string replaced_tokens_file() {
  const std::string path = ::testing::TempDir() + "replaced." + std::to_string(getpid()) + ".bin";
  TokenFileWriter writer(path, kReplacedVocabulary);
  for (int i = 0; i < 100; ++i) {
    std::vector<int32_t> document{18};
    for (int t = 0; t < 4 + i * 7 % 8; ++t) document.push_back((i * i + 5 * t) % 17);
    writer.add_document(document);
  }
  writer.finish();
  return path;
}

std::unique_ptr<Objective> replaced_objective(const RunConfig& config, Packing packing = Packing::kContinuous,
                                              Documents documents = Documents::kJoined) {
  LanguageData data;
  const std::string path = replaced_tokens_file();
  data.train.push_back({TokenFile::open(path), 1.0});
  data.validation = TokenFile::open(path);
  data.packing = packing;
  data.documents = documents;
  const ReplacedTokenDetection& replaced = config.objective().replaced_token_detection();
  const Masking masking{.probability = replaced.probability(),
                        .mask_share = replaced.mask_share(),
                        .random_share = 0.0,
                        .mask_token = 19,
                        .vocabulary = kReplacedVocabulary,
                        .special = {19}};
  return std::make_unique<ReplacedTokenObjective>(std::move(data), 12, config.seed(), masking, replaced,
                                                  config.model());
}

/// A rank that trains alone.
struct ReplacedRun {
  explicit ReplacedRun(const RunConfig& run_config, Packing packing = Packing::kContinuous,
                       Documents documents = Documents::kJoined)
      : config(run_config),
        communicator(make_local_communicator()),
        objective(replaced_objective(config, packing, documents)),
        engine(pool, *communicator, config, *objective, {}) {
    engine.optimizer().initialize(config.seed());
  }
  /// The gradient of the sum for a batch, of all weights.
  std::vector<double> gradient(const Batch& batch) {
    const Tensor gradients = engine.context().empty(engine.store().working().shape(), DType::kF32);
    std::fill_n(gradients.data<float>(), gradients.elements(), 0.0f);
    engine.store().bind_gradients(gradients);
    Tape tape(engine.context());
    objective->loss(tape, engine.model(), batch, {});
    tape.backward();
    return testing::to_doubles(gradients);
  }

  RunConfig config;
  ThreadPool pool{1};
  std::unique_ptr<Communicator> communicator;
  std::unique_ptr<Objective> objective;
  Engine engine;
};

TEST(DrawnTokens, AreDistributedAsTheScoresSayAndDependOnTheSampleAlone) {
  testing::CpuContext cpu(1);
  testing::CpuContext more(3);
  ParameterStore store;
  const Parameter table = store.add("table", {5, 3}, {Initialization::Kind::kZeros}, true, 64);
  const Parameter bias = store.add("bias", {5}, {Initialization::Kind::kZeros}, false, 64);
  store.end_unit();
  store.allocate(cpu, DType::kF32);
  std::fill_n(store.working().data<float>(), store.working().elements(), 0.0f);
  const double shares[] = {0.4, 0.3, 0.2, 0.07, 0.03};
  for (int64_t v = 0; v < 5; ++v) bias.value().data<float>()[v] = static_cast<float>(std::log(shares[v]));
  const Tensor rows = cpu.context.empty({20000, 3}, DType::kF32);
  std::fill_n(rows.data<float>(), rows.elements(), 0.7f);
  const Tensor drawn = draw_tokens(cpu, rows, table, bias, 5, 11, 100, 4);
  std::vector<double> counts(64);
  for (int64_t i = 0; i < 20000; ++i) ++counts[static_cast<size_t>(drawn.data<int32_t>()[i])];
  for (size_t v = 0; v < 64; ++v) {
    const double share = v < 5 ? shares[v] : 0.0;  // padding is never drawn
    EXPECT_NEAR(counts[v], 20000.0 * share, 4.5 * std::sqrt(20000.0 * share * (1.0 - share))) << v;
  }
  EXPECT_TRUE(testing::same_bits(drawn, draw_tokens(more, rows, table, bias, 5, 11, 100, 4)));
  // Samples 110 … 114 by themselves.
  const Tensor some = draw_tokens(cpu, rows.slice(0, {20, 3}), table, bias, 5, 11, 110, 4);
  EXPECT_TRUE(testing::same_bits(some, drawn.slice(40, {20})));
  EXPECT_FALSE(testing::same_bits(some, drawn.slice(44, {20})));
  EXPECT_FALSE(testing::same_bits(some, draw_tokens(cpu, rows.slice(0, {20, 3}), table, bias, 5, 12, 110, 4)));
}

TEST(PairsInOrder, ByHand) {
  const std::vector<float> scores{0.1f, 0.5f, 0.5f, 0.9f, 0.2f, 7.0f};
  const std::vector<int32_t> answers{0, 1, 0, 1, 0, kIgnoreIndex};
  const Average pairs = pairs_in_order(scores, answers);
  EXPECT_EQ(pairs.count, 6.0);
  EXPECT_EQ(pairs.sum, 5.5);
  EXPECT_EQ(pairs_in_order(scores, std::vector<int32_t>(6, 1)).count, 0.0) << "nothing to compare with";
}

// At the start a discriminator knows nothing: ln 2 for each token; a generator gives every token the same chance.
TEST(ReplacedTokens, BeginsWithTheLossOfGuessing) {
  ReplacedRun run(replaced_config());
  const EvaluationReport report = run.engine.evaluate();
  ASSERT_EQ(report.scores.size(), 5u);
  EXPECT_EQ(report.scores[0].first, "generator_loss");
  EXPECT_NEAR(report.scores[0].second, std::log(20.0), 0.1);
  EXPECT_NEAR(report.loss, report.scores[0].second + 50.0 * std::log(2.0), 0.6);
  for (size_t i = 1; i < 5; ++i) EXPECT_TRUE(report.scores[i].second >= 0.0 && report.scores[i].second <= 1.0);
  EXPECT_EQ(run.engine.evaluate().scores, report.scores) << "the same is drawn again";
}

// How many tokens the discriminator is asked for: all but padding, and none of rows that fill up a batch.
TEST(ReplacedTokens, PaddingIsNotAsked) {
  const RunConfig config = replaced_config();
  for (const Documents documents : {Documents::kJoined, Documents::kApart}) {
    ReplacedRun run(config, Packing::kBestFit, documents);
    for (uint64_t sample = 0; sample < 30; sample += 3) {
      const Batch batch = run.objective->training_batch(sample, 3);
      double used = 0.0;
      for (int64_t row = 0; row < 3; ++row) {
        for (int64_t t = 0; t < 12; ++t) {
          const int32_t end = batch.end_key.data<int32_t>()[row * 12 + t];
          const bool alone = documents == Documents::kApart ? batch.first_key.data<int32_t>()[row * 12 + t] == t : true;
          used +=
              end == t + 1 && alone && (documents == Documents::kApart || t >= batch.end_key.data<int32_t>()[row * 12])
                  ? 0.0
                  : 1.0;
        }
      }
      Tape tape(run.engine.context(), false);
      const EvaluationSum sum = run.objective->evaluate(tape, run.engine.model(), batch);
      EXPECT_EQ(sum.scores[2].count, used);
      EXPECT_LE(used, 36.0);
    }
  }
  ReplacedRun run(config);
  const int64_t last = run.objective->validation_batches(3, 4) - 1;
  Tape tape(run.engine.context(), false);
  const EvaluationSum sum =
      run.objective->evaluate(tape, run.engine.model(), run.objective->validation_batch(last, 3, 4));
  EXPECT_EQ(sum.scores[2].count, 12.0) << "one row of three";
  EXPECT_EQ(sum.loss.count, 3);
}

TEST(ReplacedTokens, GradientsAreSlopes) {
  ReplacedRun run(replaced_config({"model.init_deviation=0.3"}));
  const Batch batch = run.objective->training_batch(6, 3);
  const std::vector<double> gradient = run.gradient(batch);
  const auto loss = [&] {
    Tape tape(run.engine.context(), false);
    return run.objective->loss(tape, run.engine.model(), batch, {}).sum;
  };
  int compared = 0;
  for (size_t t = 0; t < run.engine.store().tensors().size(); ++t) {
    const ParameterInfo& info = run.engine.store().tensors()[t];
    const Tensor value = run.engine.store().value(static_cast<int>(t));
    for (int64_t i = 1; i < info.elements(); i += std::max<int64_t>(info.elements() / 3, 1)) {
      // So small that no other token is drawn, which would be a jump.
      constexpr float kStep = 1.0f / 1024.0f;
      float& weight = value.data<float>()[i];
      const float at = weight;
      weight = at + kStep;
      const double above = loss();
      weight = at - kStep;
      const double below = loss();
      weight = at;
      const double slope = (above - below) / 2.0 / static_cast<double>(kStep);
      EXPECT_NEAR(gradient[static_cast<size_t>(info.first_chunk * kChunkElements + i)], slope,
                  0.02 * std::max(5.0, std::fabs(slope)))
          << info.name << " " << i;
      ++compared;
    }
  }
  EXPECT_GT(compared, 100);
}

// What the discriminator says does not reach the generator, but through the embeddings that they share.
TEST(ReplacedTokens, NoGradientGoesThroughTheDrawing) {
  ReplacedRun heavy(replaced_config());
  ReplacedRun none(replaced_config({"objective.replaced_token_detection.weight=0"}));
  const Batch batch = heavy.objective->training_batch(0, 3);
  const std::vector<double> with = heavy.gradient(batch);
  const std::vector<double> without = none.gradient(batch);
  for (const ParameterInfo& info : heavy.engine.store().tensors()) {
    const auto first = static_cast<size_t>(info.first_chunk * kChunkElements);
    const auto count = static_cast<size_t>(info.elements());
    const bool generator = info.name.starts_with("objective.generator.");
    double with_norm = 0.0;
    double without_norm = 0.0;
    bool same = true;
    for (size_t i = first; i < first + count; ++i) {
      with_norm += std::abs(with[i]);
      without_norm += std::abs(without[i]);
      same = same && with[i] == without[i];
    }
    EXPECT_GT(with_norm, 0.0) << info.name;
    EXPECT_EQ(same, generator) << info.name;
    const bool shared = info.name.starts_with("electra.embeddings");
    EXPECT_EQ(without_norm > 0.0, generator || shared) << info.name;
  }
}

struct ReplacedOutcome {
  std::vector<double> losses, norms;
  std::vector<std::pair<std::string, double>> scores;
  double validation = 0.0;
  std::string weights;
};

ReplacedOutcome train_replaced(const RunConfig& config, int ranks, int threads) {
  std::vector<ReplacedOutcome> outcomes(static_cast<size_t>(ranks));
  testing::run_ranks(ranks, [&](Communicator& communicator) {
    ThreadPool pool(threads);
    const std::unique_ptr<Objective> objective = replaced_objective(config);
    Engine engine(pool, communicator, config, *objective, {});
    engine.optimizer().initialize(config.seed());
    ReplacedOutcome& outcome = outcomes[static_cast<size_t>(communicator.rank())];
    for (int64_t step = 0; step < config.steps(); ++step) {
      const StepReport report = engine.step(step + 1, static_cast<uint64_t>(step * engine.samples_per_step()), 1e-2f);
      outcome.losses.push_back(report.loss);
      outcome.norms.push_back(report.gradient_norm);
    }
    const EvaluationReport report = engine.evaluate();
    outcome.scores = report.scores;
    outcome.validation = report.loss;
    outcome.weights.assign(static_cast<const char*>(engine.store().working().raw()), engine.store().working().bytes());
  });
  EXPECT_TRUE(outcomes.front().weights == outcomes.back().weights);
  return outcomes.front();
}

TEST(ReplacedTokens, BitsDoNotDependOnRanksOrThreads) {
  const RunConfig config = replaced_config({"model.dropout=0.1"});
  const ReplacedOutcome alone = train_replaced(config, 1, 1);
  for (const auto& [ranks, threads] : {std::pair{2, 1}, {4, 1}, {1, 3}}) {
    SCOPED_TRACE(std::to_string(ranks) + " ranks, " + std::to_string(threads) + " threads");
    const ReplacedOutcome other = train_replaced(config, ranks, threads);
    EXPECT_EQ(other.losses, alone.losses);
    EXPECT_EQ(other.norms, alone.norms);
    EXPECT_EQ(other.scores, alone.scores);
    EXPECT_EQ(other.validation, alone.validation);
    EXPECT_TRUE(other.weights == alone.weights);
  }
}

TEST(ReplacedTokens, GeneratorsOfTheModelsWidthOrWithoutBlocksAreBuilt) {
  const auto tensors = [](const std::vector<std::string>& overrides) {
    const ReplacedRun run(replaced_config(overrides));
    std::string names;
    for (const ParameterInfo& info : const_cast<ReplacedRun&>(run).engine.store().tensors()) names += info.name + " ";
    return names;
  };
  const std::string prefix = "objective.replaced_token_detection.";
  EXPECT_EQ(tensors({prefix + "generator_width=16"}).find("entrance"), std::string::npos);
  const std::string unigram = tensors({prefix + "generator_layers=0"});
  EXPECT_NE(unigram.find("entrance"), std::string::npos);
  EXPECT_EQ(unigram.find("objective.generator.layer"), std::string::npos);
  EXPECT_NE(unigram.find("discriminator_predictions.dense_prediction.weight"), std::string::npos);
}

TEST(ReplacedTokens, SizesOfTheGeneratorAreResolvedAndWrongOnesRefused) {
  RunConfig config = replaced_config();
  EXPECT_EQ(config.objective().replaced_token_detection().generator_heads(), 1);
  const auto refusal = [](const std::vector<std::string>& overrides) -> std::string {
    try {
      replaced_config(overrides);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "";
  };
  const std::string prefix = "objective.replaced_token_detection.";
  EXPECT_NE(refusal({"model.family=BERT"}).find("set model.family: ELECTRA"), std::string::npos);
  EXPECT_NE(refusal({"model.discriminator=false"}).find("trains a discriminator"), std::string::npos);
  EXPECT_NE(refusal({prefix + "generator_heads=3"}).find("generator_width (8) is not a multiple of"),
            std::string::npos);
  EXPECT_NE(refusal({"model.family=BERT", "model.discriminator=true"}).find("model.discriminator must be false"),
            std::string::npos);
}

}  // namespace
}  // namespace tsugi
