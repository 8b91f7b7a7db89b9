// The real trainer on CUDA, beside the CPU: config to engine to steps to checkpoints. On the emulator, and on a device
// (device_tests).
//
// In the emulator device memory cannot be touched by the host while nothing runs (emulated/global_memory.h): an
// operator, or the trainer, that reads it there ends the test.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "core/config/config.h"
#include "core/data/file.h"
#include "core/objective/causal_lm.h"
#include "core/objective/denoising_lm.h"
#include "core/objective/masked_lm.h"
#include "core/objective/replaced_token_detection.h"
#include "core/scaling/machine_rate.h"
#include "ops/base/error.h"
#include "ops/cross_entropy/cross_entropy.h"
#include "tests/core/cuda/counting_recorder.h"
#include "tests/core/cuda/train_somewhere.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"
#include "tests/ops/cuda/testing.h"

namespace tsugi {
namespace {

using testing::CountingRecorder;
using testing::Outcome;
using testing::train_somewhere;
using testing::Where;

constexpr int64_t kVocabulary = 37;

std::string folder() { return ::testing::TempDir() + "cuda_training." + std::to_string(getpid()); }

/// Tokens with a pattern that can be learnt, in documents.
std::string make_tokens() {
  const std::string path = folder() + ".bin";
  TokenFileWriter writer(path, kVocabulary);
  std::vector<int32_t> document;
  for (int i = 0; i < 2000; ++i) {
    document.push_back((i * i + 3 * i) % kVocabulary);
    if (i % 23 != 22) continue;
    writer.add_document(document);
    document.clear();
  }
  writer.finish();
  return path;
}

RunConfig make_config(const std::string& overrides) {
  RunConfig config;
  parse_config(R"(
      steps: 4
      data { train: "unused" }
      batch { micro_batch: 2 micro_batches: 3 }
      optimizer { learning_rate: 1e-2 }
      schedule { kind: CONSTANT }
      numerics { compute: BF16 }
      compute { products: FIRST }  # a clock has no place in tests
      evaluation { every_steps: 2 sequences: 4 }
      checkpoint { every_steps: 2 }
  )" + overrides,
               "test", {}, config);
  validate_run(config);
  return config;
}

constexpr const char* kGpt2 = "model { layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 } ";

Outcome run(const RunConfig& config, const Where& where) {
  const std::string tokens = make_tokens();
  const Documents documents = config.data().documents() == DataConfig::APART ? Documents::kApart : Documents::kJoined;
  LanguageData data;
  data.train.push_back({TokenFile::open(tokens), 1.0});
  data.validation = TokenFile::open(tokens);
  data.documents = documents;
  std::unique_ptr<Objective> objective;
  if (config.objective().has_masked_lm()) {
    objective = std::make_unique<MaskedLm>(
        std::move(data), config.batch().sequence(), config.seed(),
        Masking{.probability = 0.3, .mask_token = 0, .vocabulary = kVocabulary, .special = {0}});
  } else if (config.objective().has_replaced_token_detection()) {
    const ReplacedTokenDetection& replaced = config.objective().replaced_token_detection();
    objective = std::make_unique<ReplacedTokenObjective>(
        std::move(data), config.batch().sequence(), config.seed(),
        Masking{.probability = 0.3, .mask_share = 1.0, .random_share = 0.0, .vocabulary = kVocabulary, .special = {0}},
        replaced, config.model());
  } else if (config.objective().has_span_corruption()) {
    DenoisingRules rules;
    rules.rules = rules_of(config.objective());
    for (int64_t i = 0; i < sentinels_of_denoising(rules.rules, config.batch().sequence()); ++i) {
      rules.sentinels.push_back(static_cast<int32_t>(kVocabulary - 1 - i));
    }
    rules.end_token = 1;
    objective = std::make_unique<DenoisingLm>(std::move(data), std::move(rules), kVocabulary, config.batch().sequence(),
                                              0, config.seed());
  } else {
    objective = std::make_unique<CausalLm>(std::move(data), kVocabulary, config.batch().sequence(), config.seed(),
                                           config.objective().causal_lm());
  }
  for (const char* file : {"", ".documents"}) std::filesystem::remove(tokens + file);  // they are open
  TrainerOptions options;
  options.config = config;
  return train_somewhere(*objective, std::move(options), where);
}

/// Trains on CUDA and, in both precisions, on the CPU.
void expect_equal_to_the_cpu(DeviceOperators* device, const std::string& overrides,
                             DataConfig::Documents documents = DataConfig::JOINED, bool recompute = false) {
  RunConfig config = make_config(overrides);
  config.mutable_data()->set_documents(documents);
  config.mutable_numerics()->set_recompute(recompute);
  const Outcome actual = run(config, {device});
  const Outcome plain = run(config, {});
  config.mutable_numerics()->set_compute(NumericsConfig::FP32);
  const Outcome exact = run(config, {});
  EXPECT_LT(exact.losses.back(), exact.losses.front() - 0.1) << "it learns";
  testing::expect_within_twice(actual.losses, plain.losses, exact.losses, DType::kBF16);
  testing::expect_within_twice(actual.evaluations, plain.evaluations, exact.evaluations, DType::kBF16);
  EXPECT_EQ(actual.evaluations.size(), 2u);
}

class CudaTrainer : public testing::OnCuda {};

TEST_F(CudaTrainer, Gpt2EqualsTheCpuWithinTheBoundOfBf16) { expect_equal_to_the_cpu(device(), kGpt2); }

TEST_F(CudaTrainer, InF32EqualsTheCpu) {
  for (const char* model :
       {kGpt2,
        "model { family: LLAMA layers: 2 heads: 4 key_heads: 2 head_dim: 6 width: 24 mlp_width: 40 context: 12 "
        "vocabulary: 37 sliding_window: 7 } ",
        "model { family: T5 layers: 1 decoder_layers: 1 heads: 2 width: 16 mlp_width: 24 context: 12 vocabulary: 37 "
        "dropout: 0.1 } objective { span_corruption { density: 0.3 mean_span: 2 } }"}) {
    RunConfig config = make_config(model);
    config.mutable_numerics()->set_compute(NumericsConfig::FP32);
    if (config.model().family() == ModelConfig::LLAMA) config.mutable_data()->set_documents(DataConfig::APART);
    const Outcome actual = run(config, {device()});
    const Outcome expected = run(config, {});
    EXPECT_LT(expected.losses.back(), expected.losses.front() - 0.1) << "it learns";
    testing::expect_close(actual.losses, expected.losses);
    testing::expect_close(actual.evaluations, expected.evaluations);
  }
}

TEST_F(CudaTrainer, HeadsThatTensorCoresDoNotTake) {
  expect_equal_to_the_cpu(device(), "model { layers: 1 heads: 1 width: 12 context: 12 vocabulary: 37 dropout: 0.1 }");
}

TEST_F(CudaTrainer, WithAttentionByWgmma) {
  if (!cuda::has_wgmma()) GTEST_SKIP() << "this device has no wgmma";
  for (const auto kernel : {cuda::AttentionKernel::kWgmma, cuda::AttentionKernel::kPingPong}) {
    const std::unique_ptr<DeviceOperators> operators = cuda::make_operators(0, kernel);
    expect_equal_to_the_cpu(operators.get(), "model { layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 } ");
  }
}

TEST_F(CudaTrainer, EncodersWithDropoutAndDocumentsApart) {
  const std::string size =
      " layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 init_deviation: 0.1 } "
      "objective { masked_lm { mask_token: 0 } } ";
  expect_equal_to_the_cpu(device(), "model { family: BERT" + size, DataConfig::APART);
  expect_equal_to_the_cpu(device(), "model { family: ROBERTA" + size, DataConfig::JOINED, true);
}

TEST_F(CudaTrainer, LlamaWithGroupedHeadsWindowsAndDocumentsApart) {
  expect_equal_to_the_cpu(
      device(),
      "model { family: LLAMA layers: 2 heads: 4 key_heads: 2 head_dim: 8 width: 24 mlp_width: 40 context: 12 "
      "vocabulary: 37 sliding_window: 7 dropout: 0.1 logit_soft_cap: 20 "
      "rope_scaling { kind: LLAMA3 factor: 4 low_frequency_factor: 1 high_frequency_factor: 4 original_context: 8 } } "
      "objective { causal_lm { z_loss: 1e-3 label_smoothing: 0.1 } }",
      DataConfig::APART);
}

// A token is drawn by comparing scores: where two are nearly as high, a rounding decides, and the text is another one.
TEST_F(CudaTrainer, ElectraWithTokensThatAreDrawn) {
  const RunConfig config = make_config(
      "model { family: ELECTRA layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 "
      "init_deviation: 0.1 } objective { replaced_token_detection { mask_token: 0 generator_width: 16 "
      "generator_heads: 2 generator_layers: 1 weight: 5 } }");
  const Outcome actual = run(config, {device()});
  const Outcome plain = run(config, {});
  ASSERT_EQ(actual.losses.size(), plain.losses.size());
  for (size_t i = 0; i < plain.losses.size(); ++i)
    EXPECT_NEAR(actual.losses[i], plain.losses[i], 0.02 * plain.losses[i]);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(actual.evaluations[i], plain.evaluations[i], 0.02 * plain.evaluations[i]);
  EXPECT_LT(plain.losses.back(), plain.losses.front() - 0.1) << "it learns";
}

// Queries and keys of two texts, positions by distance and their gradients.
TEST_F(CudaTrainer, T5WithItsDecoder) {
  const std::string size =
      " family: T5 layers: 2 decoder_layers: 2 heads: 2 width: 16 mlp_width: 24 context: 12 vocabulary: 37 ";
  const std::string objective = "objective { span_corruption { density: 0.3 mean_span: 2 } }";
  expect_equal_to_the_cpu(device(), "model {" + size + "dropout: 0.1 } " + objective);
  expect_equal_to_the_cpu(device(), "model {" + size + "activation: GATED_GELU } " + objective, DataConfig::JOINED,
                          true);
}

TEST_F(CudaTrainer, Qwen3WithNormsOfHeadsAndRecomputation) {
  expect_equal_to_the_cpu(
      device(),
      "model { family: QWEN3 layers: 2 heads: 2 key_heads: 1 head_dim: 16 width: 24 mlp_width: 40 context: 12 "
      "vocabulary: 37 }",
      DataConfig::JOINED, true);
}

TEST_F(CudaTrainer, GraphsChangeNoBit) {
  for (const char* model : {"model { layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 dropout: 0.1 }",
                            "model { family: LLAMA layers: 2 heads: 4 key_heads: 2 head_dim: 8 width: 24 mlp_width: 40 "
                            "context: 12 vocabulary: 37 } objective { causal_lm { z_loss: 1e-3 } }"}) {
    RunConfig config = make_config(model);
    config.mutable_data()->set_documents(DataConfig::APART);
    const Outcome plain = run(config, {device()});
    CountingRecorder recorder(*device());
    testing::use_order(7);
    const Outcome graphs = run(config, {device(), "", &recorder});
    testing::use_order(1);
    EXPECT_EQ(graphs.losses, plain.losses);
    EXPECT_EQ(graphs.evaluations, plain.evaluations);
    // Three micro-batches a step, in two buffers, of which the last one is another work; each work is recorded once,
    // after one that ran as it came. Nobody is there to send gradients to.
    EXPECT_EQ(recorder.recorded, 3);
    EXPECT_EQ(recorder.launched, 4 * 3 - 3);
    EXPECT_EQ(recorder.cuts, 0);
  }
}

TEST_F(CudaTrainer, TheHostWaitsOnceInAStep) {
  RunConfig config = make_config(kGpt2);
  config.mutable_evaluation()->set_every_steps(0);
  config.mutable_checkpoint()->set_every_steps(0);
  for (const bool graphs : {false, true}) {
    const auto waits_of = [&](int64_t steps) {
      CountingRecorder recorder(*device());
      config.set_steps(steps);
      const int64_t before = testing::host_waits();
      run(config, {device(), "", graphs ? &recorder : nullptr});
      return testing::host_waits() - before;
    };
    const int64_t few = waits_of(2);
    EXPECT_EQ(waits_of(7) - few, testing::on_emulator() ? 5 : 0) << "graphs: " << graphs;
  }
}

TEST_F(CudaTrainer, ResumesBitForBit) {
  const RunConfig config = make_config(kGpt2);
  const Outcome whole = run(config, {device()});

  const std::string directory = folder() + ".run";
  RunConfig half = config;
  half.set_steps(2);
  const Outcome first = run(half, {device(), directory});
  testing::use_order(5);
  const Outcome second = run(config, {device(), directory});
  testing::use_order(1);
  EXPECT_EQ(second.result.start_step, 2);
  std::vector<double> losses = first.losses;
  losses.insert(losses.end(), second.losses.begin(), second.losses.end());
  EXPECT_EQ(losses, whole.losses);
  EXPECT_EQ(second.result.evaluation.loss, whole.result.evaluation.loss);

  // The CPU goes on from a device's checkpoint.
  RunConfig longer = config;
  longer.set_steps(5);
  const Outcome on_cpu = run(longer, {nullptr, directory});
  EXPECT_EQ(on_cpu.result.start_step, 4);
  EXPECT_LT(on_cpu.losses.back(), whole.losses.front());
  std::filesystem::remove_all(directory);
}

/// A clock by which every product's last (or first) algorithm is the fastest; counts the products.
cuda::ProductTimes clock_of(bool last, int& timed) {
  return [last, &timed](const cuda::ProductShape&, std::span<const cuda::ProductAlgorithm> algorithms) {
    ++timed;
    std::vector<double> seconds(algorithms.size(), 2.0);
    (last ? seconds.back() : seconds.front()) = 1.0;
    return seconds;
  };
}

TEST_F(CudaTrainer, TakesItsProductsAlgorithmsAlongWhenItResumes) {
  RunConfig config = make_config(kGpt2);
  config.mutable_compute()->set_products(ComputeConfig::TIMED);
  RunConfig half = config;
  half.set_steps(2);
  const std::string directory = folder() + ".products";
  const auto with_clock = [&](bool last, const RunConfig& what, const std::string& where, int& timed) {
    const std::unique_ptr<DeviceOperators> operators = cuda::make_operators(0);
    dynamic_cast<cuda::Operators&>(*operators).set_product_times(clock_of(last, timed));
    return run(what, {operators.get(), where});
  };
  const auto weights = [&] {
    return read_file(directory + "/checkpoints/step-00000004/model.safetensors", int64_t{1} << 30);
  };
  int timed = 0;
  with_clock(true, config, directory, timed);
  const std::string whole = weights();
  const int all = timed;
  EXPECT_GT(all, 10) << "forward, backward, evaluation";
  std::filesystem::remove_all(directory);
  with_clock(false, config, directory, timed);
  EXPECT_EQ(timed, 2 * all);
  if (testing::on_emulator()) {
    EXPECT_TRUE(weights() != whole) << "the choice is part of the numbers";
  }
  std::filesystem::remove_all(directory);

  // Half of it, then another process with another clock, whose table is the checkpoint's.
  timed = 0;
  with_clock(true, half, directory, timed);
  EXPECT_EQ(timed, all);
  EXPECT_TRUE(std::filesystem::remove(directory + "/products.txt"));
  EXPECT_EQ(with_clock(false, config, directory, timed).result.start_step, 2);
  EXPECT_EQ(timed, all);
  EXPECT_TRUE(weights() == whole);

  // A table in the folder of a new run.
  std::filesystem::remove_all(directory + "/checkpoints");
  with_clock(true, half, directory, timed);
  EXPECT_EQ(timed, 2 * all) << "the table went with the checkpoint";
  std::filesystem::remove_all(directory + "/checkpoints");
  with_clock(false, config, directory, timed);
  EXPECT_EQ(timed, 2 * all);
  EXPECT_TRUE(weights() == whole);

  // FIRST needs none.
  std::filesystem::remove_all(directory);
  config.mutable_compute()->set_products(ComputeConfig::FIRST);
  with_clock(true, config, directory, timed);
  EXPECT_EQ(timed, 2 * all);
  EXPECT_FALSE(std::filesystem::exists(directory + "/products.txt"));
  if (testing::on_emulator()) {
    EXPECT_TRUE(weights() != whole);
  }
  std::filesystem::remove_all(directory);
}

TEST_F(CudaTrainer, RefusesWhatIsNotBuilt) {
  const auto message = [&](const RunConfig& config) -> std::string {
    try {
      run(config, {device()});
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kUsage);
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(make_config("model { layers: 1 heads: 1 width: 260 context: 8 vocabulary: 37 }")),
              ::testing::HasSubstr("heads of 260"));
}

TEST_F(CudaTrainer, TheRateOfADeviceIsThatOfProductsThatWaitForNoLaunch) {
  Profile profile;
  const int64_t waits = testing::host_waits();
  EXPECT_GT(measure_matmul_rate(cuda().context, DType::kBF16), 0.0);
  const int64_t products = profile.rows().at("matmul").calls;
  EXPECT_GT(products, 0);
  EXPECT_LE(4 * (testing::host_waits() - waits), products);
}

}  // namespace
}  // namespace tsugi
