// Tiny BERT, RoBERTa, DistilBERT and ELECTRA against Hugging Face transformers in float64: logits, loss, every
// gradient, padding and segments. Values: tests/golden/make_encoders.py.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "core/checkpoint/parameter_ranges.h"
#include "core/checkpoint/safetensors.h"
#include "core/data/file.h"
#include "core/model/classifier_head.h"
#include "core/model/huggingface.h"
#include "core/objective/masked_lm.h"
#include "ops/base/error.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr int64_t kEncoderRows = 2;
constexpr int64_t kEncoderLength = 12;
constexpr int64_t kEncoderVocabulary = 29;

std::string encoder_golden_path(const std::string& name) {
  return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/encoder_" + name;
}

/// A model with the golden weights and batch.
class GoldenEncoder {
 public:
  explicit GoldenEncoder(const std::string& name)
      : text_(read_file(encoder_golden_path(name + ".safetensors"), 1 << 20)),
        header_(parse_safetensors(text_, static_cast<int64_t>(text_.size()), name)),
        description(parse_huggingface_config(read_file(encoder_golden_path(name + ".json"), 1 << 16), name)),
        context(Device{}, pool_, memory_),
        model(description.model, store) {
    store.allocate(context, DType::kF32);
    fill_zero(context, store.working());
    const std::vector<SavedTensor> tensors = saved_tensors(store);
    for (const StateRange& range : whole_tensors(store)) {
      const std::vector<float> from = values<float>(tensors[static_cast<size_t>(range.tensor)].name);
      EXPECT_EQ(static_cast<int64_t>(from.size()), range.length);
      std::ranges::copy(from, range.master);
    }
    integers_ = {values<int32_t>("tokens"), values<int32_t>("targets"), values<int32_t>("segments")};
    const std::vector<int32_t> lengths = values<int32_t>("lengths");
    for (const int32_t length : lengths) ends_.insert(ends_.end(), kEncoderLength, length);
    for (int32_t place = 0; place < kEncoderRows * kEncoderLength; ++place) places_.push_back(place);
    const Shape shape{kEncoderRows, kEncoderLength};
    batch.tokens = Tensor::view(integers_[0].data(), shape, DType::kI32);
    batch.targets = Tensor::view(integers_[1].data(), {shape.elements()}, DType::kI32);
    batch.positions = Tensor::view(places_.data(), {shape.elements()}, DType::kI32);
    batch.end_key = Tensor::view(ends_.data(), shape, DType::kI32);
    options.segments = Tensor::view(integers_[2].data(), shape, DType::kI32);
  }

  template <class T>
  std::vector<T> values(const std::string& name) const {
    const SafetensorsTensor& tensor = header_.tensors.at(name);
    std::vector<T> result(static_cast<size_t>(tensor.elements));
    EXPECT_EQ(result.size() * sizeof(T), static_cast<size_t>(tensor.end - tensor.begin));
    std::memcpy(result.data(), text_.data() + tensor.begin, result.size() * sizeof(T));
    return result;
  }

  /// Of what hidden tokens were, or of a discriminator's answers.
  LossSum loss(Tape& tape) {
    if (!description.model.discriminator()) return masked_lm_loss(tape, model, batch, options);
    ForwardOptions how = options;
    how.end_key = batch.end_key;
    return binary_cross_entropy_loss(tape, model.discriminated(tape, model.hidden(tape, batch.tokens, how)),
                                     batch.targets, 1.0f);
  }

  LossSum backward() {
    gradients = context.empty({store.chunks() * kChunkElements}, DType::kF32);
    fill_zero(context, gradients);
    store.bind_gradients(gradients);
    Tape tape(context);
    const LossSum sum = loss(tape);
    tape.backward();
    return sum;
  }

  std::vector<float> logits(const Tensor& tokens, const Tensor& segments, const Tensor& end_key) {
    Tape tape(context, false);
    ForwardOptions how;
    how.segments = segments;
    how.end_key = end_key;
    const Tensor scores = model.logits(context, as_matrix(model.hidden(tape, tokens, how).value));
    std::vector<float> result;
    for (int64_t row = 0; row < scores.shape()[0]; ++row) {
      const float* from = scores.data<float>() + row * scores.shape()[1];
      result.insert(result.end(), from, from + kEncoderVocabulary);
    }
    return result;
  }

 private:
  std::string text_;
  SafetensorsHeader header_;
  HeapMemory memory_;
  ThreadPool pool_{2};
  std::array<std::vector<int32_t>, 3> integers_;
  std::vector<int32_t> ends_, places_;

 public:
  HuggingfaceModel description;
  Context context;
  ParameterStore store;
  Transformer model;
  Tensor gradients;
  Batch batch;
  ForwardOptions options;
};

double farthest(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double result = 0.0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    result = std::max(result, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  }
  return result;
}

class EncoderGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(EncoderGolden, LogitsOfTextsWithAndWithoutPadding) {
  GoldenEncoder golden(GetParam());
  const std::vector<float> ours = golden.logits(golden.batch.tokens, golden.options.segments, golden.batch.end_key);
  const std::vector<float> theirs = golden.values<float>("logits");
  const auto row = static_cast<size_t>(kEncoderLength * kEncoderVocabulary);
  const size_t used = row + static_cast<size_t>(golden.values<int32_t>("lengths")[1]) * kEncoderVocabulary;
  // What stands at the padding itself is nobody's.
  EXPECT_LT(farthest(std::span(ours).first(used), std::span(theirs).first(used)), 2e-5);
}

TEST_P(EncoderGolden, PaddingChangesNoBit) {
  GoldenEncoder golden(GetParam());
  const std::vector<float> before = golden.logits(golden.batch.tokens, golden.options.segments, golden.batch.end_key);
  const auto length = static_cast<int64_t>(golden.values<int32_t>("lengths")[1]);
  for (int64_t t = length; t < kEncoderLength; ++t) {
    golden.batch.tokens.data<int32_t>()[kEncoderLength + t] = static_cast<int32_t>(3 + t);
  }
  const std::vector<float> after = golden.logits(golden.batch.tokens, golden.options.segments, golden.batch.end_key);
  const auto used = static_cast<size_t>((kEncoderLength + length) * kEncoderVocabulary);
  EXPECT_EQ(std::memcmp(before.data(), after.data(), used * sizeof(float)), 0);
  EXPECT_NE(before, after) << "the padding's own outputs do change";
}

TEST_P(EncoderGolden, EveryTokenSeesTheLastOne) {
  GoldenEncoder golden(GetParam());
  const std::vector<float> before = golden.logits(golden.batch.tokens, golden.options.segments, {});
  int32_t& last = golden.batch.tokens.data<int32_t>()[kEncoderLength - 1];
  last = last == 5 ? 6 : 5;
  const std::vector<float> after = golden.logits(golden.batch.tokens, golden.options.segments, {});
  for (int64_t t = 0; t < kEncoderLength; ++t) {
    const auto at = static_cast<size_t>(t * kEncoderVocabulary);
    EXPECT_GT(farthest({before.data() + at, kEncoderVocabulary}, {after.data() + at, kEncoderVocabulary}), 1e-4) << t;
  }
}

void expect_gradients(GoldenEncoder& golden) {
  const LossSum loss = golden.backward();
  EXPECT_EQ(loss.count, 6);
  EXPECT_NEAR(loss.sum / 6.0, golden.values<float>("loss")[0], 2e-6);
  int compared = 0;
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const float* actual = golden.store.gradient(static_cast<int>(t)).data<float>();
    for (const ParameterPart& part : golden.store.tensors()[t].parts) {
      std::vector<float> expected = golden.values<float>("gradient/" + part.name);
      double largest = 0.1;
      for (float& value : expected) {
        value *= static_cast<float>(loss.count);  // ours is the gradient of the sum
        largest = std::max(largest, std::fabs(static_cast<double>(value)));
      }
      EXPECT_LT(farthest({actual, expected.size()}, expected), 3e-5 * largest) << part.name;
      actual += expected.size();
      ++compared;
    }
  }
  // Two blocks of 16 tensors, three tables at most, the norm after them, the head.
  EXPECT_GE(compared, 2 * 16 + 2 + 2 + 5);
}

TEST_P(EncoderGolden, LossAndEveryGradient) {
  GoldenEncoder golden(GetParam());
  expect_gradients(golden);
}

TEST_P(EncoderGolden, RecomputationAndSkippedPlacesChangeNoBit) {
  GoldenEncoder golden(GetParam());
  golden.backward();
  const Tensor kept = golden.gradients;
  golden.options.recompute = true;
  golden.backward();
  EXPECT_EQ(std::memcmp(kept.raw(), golden.gradients.raw(), kept.bytes()), 0);
}

TEST_P(EncoderGolden, ConfigIsWrittenAsItWasRead) {
  const std::string text = read_file(encoder_golden_path(std::string(GetParam()) + ".json"), 1 << 16);
  const HuggingfaceModel once = parse_huggingface_config(text, "golden");
  EXPECT_TRUE(once.model.bidirectional());
  const std::string written = to_huggingface_config(once);
  const HuggingfaceModel twice = parse_huggingface_config(written, "written");
  EXPECT_EQ(once.model.DebugString(), twice.model.DebugString());
  EXPECT_EQ(once.token_ids, twice.token_ids);
  EXPECT_EQ(written, to_huggingface_config(twice));
  EXPECT_NE(written.find(std::string("\"model_type\": \"") + GetParam()), std::string::npos);
}

// The gradients of the whole model with dropout everywhere, against central differences.
TEST_P(EncoderGolden, GradientsWithDropoutAreSlopes) {
  GoldenEncoder golden(GetParam());
  golden.options.dropout = {0.3f, 7, 1};
  golden.backward();
  const std::vector<float> gradients(golden.gradients.data<float>(),
                                     golden.gradients.data<float>() + golden.gradients.elements());
  const auto loss = [&] {
    Tape tape(golden.context);  // recording: dropout acts
    return masked_lm_loss(tape, golden.model, golden.batch, golden.options).sum;
  };
  for (size_t t = 0; t < golden.store.tensors().size(); ++t) {
    const Tensor value = golden.store.value(static_cast<int>(t));
    const float* gradient = gradients.data() + golden.store.tensors()[t].first_chunk * kChunkElements;
    for (int64_t i = 3; i < golden.store.tensors()[t].elements(); i += 97) {
      constexpr float kStep = 1.0f / 128.0f;
      float& weight = value.data<float>()[i];
      const float at = weight;
      weight = at + kStep;
      const double above = loss();
      weight = at - kStep;
      const double below = loss();
      weight = at;
      const double slope = (above - below) * 64.0;
      EXPECT_NEAR(static_cast<double>(gradient[i]), slope, 5e-3 * std::max(1.0, std::fabs(slope)))
          << golden.store.tensors()[t].name << i;
    }
  }
}

TEST(ElectraDiscriminator, LogitsLossAndEveryGradient) {
  GoldenEncoder golden("electra_discriminator");
  Tape tape(golden.context, false);
  ForwardOptions how = golden.options;
  how.end_key = golden.batch.end_key;
  const Tensor scores = golden.model.discriminated(tape, golden.model.hidden(tape, golden.batch.tokens, how)).value;
  const std::vector<float> theirs = golden.values<float>("logits");
  const size_t used = static_cast<size_t>(kEncoderLength + golden.values<int32_t>("lengths")[1]);
  EXPECT_LT(farthest({scores.data<float>(), used}, std::span(theirs).first(used)), 2e-5);
  expect_gradients(golden);
}

TEST(ElectraDiscriminator, ConfigSaysWhichHead) {
  const std::string text = read_file(encoder_golden_path("electra_discriminator.json"), 1 << 16);
  HuggingfaceModel model = parse_huggingface_config(text, "golden");
  EXPECT_TRUE(model.model.discriminator());
  EXPECT_NE(to_huggingface_config(model).find("ElectraForPreTraining"), std::string::npos);
  model.model.set_discriminator(false);
  EXPECT_NE(to_huggingface_config(model).find("ElectraModel"), std::string::npos);
  EXPECT_FALSE(parse_huggingface_config(to_huggingface_config(model), "written").model.discriminator());
  std::string narrow = text;
  narrow.replace(narrow.find("\"embedding_size\": 16"), 20, "\"embedding_size\": 12");
  EXPECT_THROW(parse_huggingface_config(narrow, "narrow"), Error);
}

INSTANTIATE_TEST_SUITE_P(Encoders, EncoderGolden, ::testing::Values("bert", "roberta", "distilbert", "electra"),
                         [](const auto& parameter) { return std::string(parameter.param); });

}  // namespace
}  // namespace tsugi
