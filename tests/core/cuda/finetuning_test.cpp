// Fine-tuning on CUDA, beside the CPU: classes, instructions, frozen blocks, low-rank adapters, bottlenecks. On the
// emulator, and on a device (device_tests).
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

#include "core/config/config.h"
#include "core/objective/classification.h"
#include "core/objective/instruction_tuning.h"
#include "core/objective/sequence_to_sequence.h"
#include "tests/core/cuda/train_somewhere.h"
#include "tests/ops/cuda/context.h"
#include "tests/ops/cuda/low_precision.h"

namespace tsugi {
namespace {

using testing::Outcome;
using testing::train_somewhere;

constexpr int64_t kLongest = 12;
constexpr const char* kLlama =
    "model { family: LLAMA layers: 2 heads: 2 key_heads: 1 width: 16 mlp_width: 24 context: 12 vocabulary: 37 } ";

RunConfig tuning_config(const std::string& overrides) {
  RunConfig config;
  std::vector<std::string> data;
  if (overrides.find("sequence_to_sequence") != std::string::npos) {  // which takes nothing else
    data = {"data.documents=JOINED", "data.packing=CONTINUOUS"};
  }
  parse_config(R"(
      steps: 4
      data { train: "unused" documents: APART packing: WHOLE_DOCUMENTS }
      batch { micro_batch: 2 micro_batches: 3 }
      # Updates follow the gradients' size: by their signs alone, noise would become a whole step where they are small.
      optimizer { learning_rate: 0.02 epsilon: 0.1 clip_norm: 0 }
      schedule { kind: CONSTANT }
      numerics { compute: BF16 }
      compute { products: FIRST }  # a clock has no place in tests
      evaluation { every_steps: 2 }
  )" + overrides,
               "test", data, config);
  validate_run(config);
  return config;
}

/// Texts of two classes, told apart by their tokens.
std::vector<LabelledTokens> texts_of_classes(int count) {
  std::vector<LabelledTokens> texts;
  for (int i = 0; i < count; ++i) {
    std::vector<int32_t> tokens;
    for (int t = 0; t < 3 + i % 7; ++t) tokens.push_back(1 + (i % 2) * 18 + (i * 5 + t * 3) % 18);
    texts.push_back({tokens, i % 2});
  }
  return texts;
}

std::unique_ptr<Objective> classes(const RunConfig& config) {
  return std::make_unique<Classification>(texts_of_classes(18), texts_of_classes(4), 2, kLongest, config.seed(),
                                          config.model().bidirectional());
}

/// Responses that repeat their prompts; several in a row.
std::unique_ptr<Objective> instructions(const RunConfig& config) {
  std::vector<ScoredTokens> examples;
  for (int i = 0; i < 18; ++i) {
    ScoredTokens example;
    for (int t = 0; t < 6; ++t) {
      example.ids.push_back(1 + (i * 7 + t % 3) % 36);
      example.scored.push_back(t >= 3 ? 1 : 0);
    }
    examples.push_back(example);
  }
  return std::make_unique<InstructionTuning>(examples, std::vector(examples.begin(), examples.begin() + 4), kLongest,
                                             true, config.seed());
}

/// Responses of several lengths, so that many targets are ignored.
std::unique_ptr<Objective> responses(const RunConfig& config) {
  std::vector<TokenPair> pairs;
  for (int i = 0; i < 18; ++i) {
    TokenPair pair;
    for (int t = 0; t < 3 + i % 5; ++t) pair.input.push_back(1 + (i * 7 + t) % 36);
    pair.target.assign(pair.input.begin(), pair.input.begin() + 2 + i % 3 / 2);
    pairs.push_back(pair);
  }
  return std::make_unique<SequenceToSequenceLm>(pairs, std::vector(pairs.begin(), pairs.begin() + 4),
                                                PairShape{.inputs = 12, .targets = 30}, 0, config.seed());
}

class CudaFineTuning : public testing::OnCuda {
 protected:
  /// Trains on CUDA and, in both precisions, on the CPU, from the same weights.
  void expect_equal_to_the_cpu(const std::function<std::unique_ptr<Objective>(const RunConfig&)>& objective,
                               const std::string& overrides, TrainerOptions options = {}) {
    options.config = tuning_config(overrides);
    const auto run = [&](DeviceOperators* on) { return train_somewhere(*objective(options.config), options, {on}); };
    const Outcome actual = run(device());
    const Outcome plain = run(nullptr);
    options.config.mutable_numerics()->set_compute(NumericsConfig::FP32);
    const Outcome exact = run(nullptr);
    EXPECT_GT(std::abs(exact.evaluations.back() - exact.evaluations.front()), 0.003) << "nothing was learnt";
    testing::expect_within_twice(actual.losses, plain.losses, exact.losses, DType::kBF16);
    testing::expect_within_twice(actual.evaluations, plain.evaluations, exact.evaluations, DType::kBF16);
    EXPECT_EQ(actual.evaluations.size(), 2u);
  }
};

TEST_F(CudaFineTuning, ClassesOfDecodersAndEncoders) {
  expect_equal_to_the_cpu(classes, kLlama);
  expect_equal_to_the_cpu(classes,
                          "model { family: BERT layers: 2 heads: 2 width: 16 context: 12 vocabulary: 37 "
                          "init_deviation: 0.1 pooler: false } objective { masked_lm { mask_token: 0 } }");
}

TEST_F(CudaFineTuning, FrozenBlocksStayAsTheyAre) {
  TrainerOptions options;
  options.frozen = [](const ParameterInfo& info) {
    return info.name.find("layers.0.") != std::string::npos || info.name.find("embed") != std::string::npos;
  };
  expect_equal_to_the_cpu(classes, kLlama, options);
}

TEST_F(CudaFineTuning, InstructionsInPackedRows) { expect_equal_to_the_cpu(instructions, kLlama); }

TEST_F(CudaFineTuning, ResponsesOfSeveralLengths) {
  expect_equal_to_the_cpu(responses,
                          "model { family: T5 layers: 1 decoder_layers: 1 heads: 2 width: 16 mlp_width: 24 context: 12 "
                          "vocabulary: 37 } objective { sequence_to_sequence {} }");
}

TEST_F(CudaFineTuning, Adapters) {
  expect_equal_to_the_cpu(classes, std::string(kLlama) + "adapter { rank: 8 alpha: 32 }");
  expect_equal_to_the_cpu(classes, std::string(kLlama) + "adapter { bottleneck: 8 placement: BOTH }");
}

}  // namespace
}  // namespace tsugi
