// Tiny Llama, Qwen2, Qwen3, Mistral and Arcee models against Hugging Face transformers in float64: logits, loss, every
// gradient; generation with a cache; recomputation. Values: tests/golden/make_families.py.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/file.h"
#include "core/model/huggingface.h"
#include "core/model/transformer.h"
#include "core/objective/causal_lm.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr int64_t kBatch = 2;
constexpr int64_t kLength = 12;
constexpr int64_t kFamilyVocabulary = 29;

std::string family_golden_path(const std::string& name) {
  return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/family_" + name;
}

/// A model with the golden weights and batch.
class GoldenModel {
 public:
  explicit GoldenModel(const std::string& name, DType type = DType::kF32)
      : text_(read_file(family_golden_path(name + ".safetensors"), 1 << 20)),
        header_(parse_safetensors(text_, static_cast<int64_t>(text_.size()), name)),
        description(parse_huggingface_config(read_file(family_golden_path(name + ".json"), 1 << 16), name)),
        pool_(2),
        context(Device{}, pool_, memory_),
        model(description.model, store) {
    store.allocate(context, DType::kF32);
    fill_zero(context, store.working());
    const std::vector<SavedTensor> tensors = saved_tensors(store);
    for (const StateRange& range : whole_tensors(store)) {
      const std::vector<float> from = values<float>(tensors[static_cast<size_t>(range.tensor)].name);
      EXPECT_EQ(static_cast<int64_t>(from.size()), range.length);
      std::copy(from.begin(), from.end(), range.master);
    }
    if (type == DType::kBF16) {
      const Tensor exact = store.working();
      rounded_ = std::make_unique<ParameterStore>();
      rounded_model_ = std::make_unique<Transformer>(description.model, *rounded_);
      rounded_->allocate(context, type);
      convert(context, exact, rounded_->working());
    }
    tokens_ = values<int32_t>("tokens");
    targets_ = values<int32_t>("targets");
    tokens = Tensor::view(tokens_.data(), {kBatch, kLength}, DType::kI32);
    targets = Tensor::view(targets_.data(), {kBatch, kLength}, DType::kI32);
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsTensor& tensor = header_.tensors.at(name);
    std::vector<T> result(static_cast<size_t>(tensor.elements));
    EXPECT_EQ(result.size() * sizeof(T), static_cast<size_t>(tensor.end - tensor.begin));
    std::memcpy(result.data(), text_.data() + tensor.begin, result.size() * sizeof(T));
    return result;
  }

  /// Loss of the batch, with all gradients in a buffer of the store.
  LossSum backward(const ForwardOptions& options = {}) {
    ParameterStore& parameters = rounded_ ? *rounded_ : store;
    const Transformer& network = rounded_model_ ? *rounded_model_ : model;
    gradients = context.empty({parameters.chunks() * kChunkElements}, DType::kF32);
    fill_zero(context, gradients);
    parameters.bind_gradients(gradients);
    Tape tape(context);
    const Variable hidden = network.hidden(tape, tokens, options);
    const LossSum loss = cross_entropy_loss(tape, hidden, network.output_weight(), targets, kFamilyVocabulary);
    tape.backward();
    return loss;
  }

  std::vector<float> row(int64_t begin, int64_t count, std::vector<KeyValueCache>* caches, const Tensor& table = {}) {
    Tape tape(context, false);
    ForwardOptions options;
    options.caches = caches;
    options.rotary_table = table;
    const Tensor input = Tensor::view(tokens_.data() + begin, {1, count}, DType::kI32);
    const Tensor hidden = model.hidden(tape, input, options).value;
    const Tensor logits = model.logits(context, hidden.reshape({count, hidden.shape()[2]}));
    std::vector<float> result;
    for (int64_t t = 0; t < count; ++t) {
      const float* from = logits.data<float>() + t * logits.shape()[1];
      result.insert(result.end(), from, from + kFamilyVocabulary);
    }
    return result;
  }

 private:
  std::string text_;
  SafetensorsHeader header_;
  HeapMemory memory_;

 public:
  HuggingfaceModel description;

 private:
  ThreadPool pool_;
  std::unique_ptr<ParameterStore> rounded_;
  std::unique_ptr<Transformer> rounded_model_;
  std::vector<int32_t> tokens_;
  std::vector<int32_t> targets_;

 public:
  Context context;
  ParameterStore store;
  Transformer model;
  Tensor gradients;
  Tensor tokens;
  Tensor targets;
};

double largest(const std::vector<float>& values) {
  double result = 1e-12;
  for (const float value : values) result = std::max(result, std::fabs(static_cast<double>(value)));
  return result;
}

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double result = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    result = std::max(result, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return result;
}

class FamilyGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(FamilyGolden, Logits) {
  GoldenModel golden(GetParam());
  EXPECT_LT(difference(golden.row(0, kLength, nullptr), golden.values<float>("logits")), 2e-5);
}

TEST_P(FamilyGolden, LossAndEveryGradient) {
  GoldenModel golden(GetParam());
  const LossSum loss = golden.backward();
  EXPECT_EQ(loss.count, kBatch * kLength - 2);
  EXPECT_NEAR(loss.sum / static_cast<double>(loss.count), golden.values<float>("loss")[0], 2e-6);

  int compared = 0;
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const ParameterInfo& info = golden.store.tensors()[t];
    const float* actual = golden.store.gradient(static_cast<int>(t)).data<float>();
    for (const ParameterPart& part : info.parts) {
      std::vector<float> expected = golden.values<float>("gradient/" + part.name);
      for (float& value : expected) value *= static_cast<float>(loss.count);  // ours is the gradient of the sum
      const std::vector<float> ours(actual, actual + expected.size());
      // The gradient of a key bias is zero in exact arithmetic unless positions turn it.
      EXPECT_LT(difference(ours, expected), 3e-5 * std::max(largest(expected), 0.1)) << part.name;
      actual += expected.size();
      ++compared;
    }
  }
  EXPECT_GE(compared, 2 * 7);
}

TEST_P(FamilyGolden, RecomputationChangesNoBit) {
  GoldenModel golden(GetParam());
  golden.backward();
  const Tensor kept = golden.gradients;
  ForwardOptions options;
  options.recompute = true;
  golden.backward(options);
  EXPECT_EQ(std::memcmp(kept.raw(), golden.gradients.raw(), kept.bytes()), 0);
}

TEST_P(FamilyGolden, TokenByTokenWithACache) {
  GoldenModel golden(GetParam());
  const std::vector<float> expected = golden.values<float>("logits");
  std::vector<KeyValueCache> caches = golden.model.make_caches(golden.context, 1, kLength);
  EXPECT_EQ(caches.front().keys.shape()[2],
            int64_t{golden.description.model.key_heads()} * golden.description.model.head_dim());
  const Tensor table = golden.model.rotary_positions(golden.context, kLength);
  std::vector<float> logits = golden.row(0, 5, &caches, table);  // a prompt, then one by one
  for (int64_t t = 5; t < kLength; ++t) {
    const std::vector<float> one = golden.row(t, 1, &caches, t % 2 == 0 ? table : Tensor());
    logits.insert(logits.end(), one.begin(), one.end());
  }
  EXPECT_LT(difference(logits, expected), 2e-5);
}

TEST_P(FamilyGolden, Bf16FollowsTheLoss) {
  GoldenModel golden(GetParam(), DType::kBF16);
  const LossSum loss = golden.backward();
  EXPECT_NEAR(loss.sum / static_cast<double>(loss.count), golden.values<float>("loss")[0], 0.1);
}

TEST_P(FamilyGolden, ConfigIsWrittenAsItWasRead) {
  const std::string text = read_file(family_golden_path(std::string(GetParam()) + ".json"), 1 << 16);
  const HuggingfaceModel once = parse_huggingface_config(text, "golden");
  const std::string written = to_huggingface_config(once);
  const HuggingfaceModel twice = parse_huggingface_config(written, "written");
  EXPECT_EQ(once.model.DebugString(), twice.model.DebugString());
  EXPECT_EQ(once.token_ids, twice.token_ids);
  EXPECT_EQ(written, to_huggingface_config(twice));
}

// With a soft cap: the loss that is trained is that of the logits which generation sees, and differs from the one
// without.
TEST_P(FamilyGolden, SoftCapIsTheSameInTrainingAndGeneration) {
  GoldenModel golden(GetParam());
  const double plain = golden.backward().sum;
  ModelConfig capped = golden.description.model;
  capped.set_logit_soft_cap(2.0f);
  ParameterStore store;
  const Transformer model(capped, store);
  store.allocate(golden.context, DType::kF32);
  convert(golden.context, golden.store.working(), store.working());
  Tape tape(golden.context, false);
  Batch batch;
  batch.tokens = golden.tokens;
  batch.targets = golden.targets;
  const LossSum loss = causal_lm_loss(tape, model, batch, {}, {});
  const Tensor hidden = model.hidden(tape, golden.tokens, {}).value;
  const Tensor logits = model.logits(golden.context, hidden.reshape({kBatch * kLength, hidden.shape()[2]}));
  double expected = 0.0;
  for (int64_t row = 0; row < kBatch * kLength; ++row) {
    const int32_t target = golden.targets.data<int32_t>()[row];
    if (target < 0) continue;
    const float* scores = logits.data<float>() + row * logits.shape()[1];
    double total = 0.0;
    for (int64_t i = 0; i < kFamilyVocabulary; ++i) {
      EXPECT_LE(std::fabs(scores[i]), 2.0f);
      total += std::exp(static_cast<double>(scores[i]));
    }
    expected += std::log(total) - static_cast<double>(scores[target]);
  }
  EXPECT_NEAR(loss.sum, expected, 1e-4);
  EXPECT_GT(std::fabs(loss.sum - plain), 0.1);

  // What training adds is in the gradients, not in the loss.
  const auto gradient = [&](const CausalLanguageModel& config) {
    const Tensor gradients = golden.context.empty({store.chunks() * kChunkElements}, DType::kF32);
    fill_zero(golden.context, gradients);
    store.bind_gradients(gradients);
    Tape recording(golden.context);
    EXPECT_EQ(causal_lm_loss(recording, model, batch, {}, config).sum, loss.sum);
    recording.backward();
    return std::vector<float>(gradients.data<float>(), gradients.data<float>() + gradients.elements());
  };
  const std::vector<float> without = gradient({});
  CausalLanguageModel config;
  config.set_z_loss(0.01f);
  EXPECT_GT(difference(gradient(config), without), 1e-3);
  config.set_z_loss(0.0f);
  config.set_label_smoothing(0.1f);
  EXPECT_GT(difference(gradient(config), without), 1e-3);
}

// Tokens of a packed document see nothing of the one before: the rest of the row is as if it stood alone.
TEST_P(FamilyGolden, PackedDocumentsDoNotSeeEachOther) {
  GoldenModel golden(GetParam());
  constexpr int64_t kCut = 5;
  std::vector<int32_t> first_key(kLength, 0);
  std::fill(first_key.begin() + kCut, first_key.end(), static_cast<int32_t>(kCut));
  Tape tape(golden.context, false);
  ForwardOptions options;
  options.first_key = Tensor::view(first_key.data(), {1, kLength}, DType::kI32);
  const Tensor row = Tensor::view(golden.tokens.raw(), {1, kLength}, DType::kI32);
  const Tensor hidden = golden.model.hidden(tape, row, options).value;
  const Tensor logits = golden.model.logits(golden.context, hidden.reshape({kLength, hidden.shape()[2]}));
  std::vector<float> second;
  for (int64_t t = kCut; t < kLength; ++t) {
    const float* from = logits.data<float>() + t * logits.shape()[1];
    second.insert(second.end(), from, from + kFamilyVocabulary);
  }
  // Alone it stands at other positions, but only distances count.
  EXPECT_LT(difference(second, golden.row(kCut, kLength - kCut, nullptr)), 2e-5);
}

INSTANTIATE_TEST_SUITE_P(Families, FamilyGolden,
                         ::testing::Values("llama", "llama3", "qwen2", "qwen3", "mistral", "arcee", "yarn"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace tsugi
