// What models begin with: the same zeros, ones and deviations as those that transformers makes from a configuration.
#include <gtest/gtest.h>

#include <cmath>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/model/classifier_head.h"
#include "core/model/transformer.h"
#include "tests/ops/golden.h"

namespace tsugi {
namespace {

struct InitializationCase {
  const char* family;
  const char* model;
};
constexpr InitializationCase kInitializationCases[] = {
    {"GPT2", "vocabulary: 192 context: 32"},
    {"LLAMA", "vocabulary: 192 context: 32 key_heads: 2 mlp_width: 128"},
    {"QWEN2", "vocabulary: 192 context: 32 key_heads: 2 mlp_width: 128"},
    {"QWEN3", "vocabulary: 192 context: 32 key_heads: 2 mlp_width: 128 head_dim: 16"},
    {"BERT", "vocabulary: 192 context: 32"},
    {"ROBERTA", "vocabulary: 192 context: 32"},
    {"DISTILBERT", "vocabulary: 192 context: 32"},
    {"VIT", "image_size: 32 patch_size: 8"}};

class InitialValues : public ::testing::TestWithParam<InitializationCase> {};

TEST_P(InitialValues, AreThoseOfTransformers) {
  ModelConfig model;
  const std::string family = GetParam().family;
  parse_config("family: " + family + " layers: 3 heads: 4 width: 64 " + GetParam().model, "test", {}, model);
  resolve_family(model);
  ParameterStore store;
  const Transformer transformer(model, store);
  if (family == "VIT") {
    const ClassifierHead head(store, model, 10);
    store.end_unit();
  }
  std::vector<float> values(static_cast<size_t>(store.chunks() * kChunkElements));
  store.initial_values(17, 0, store.chunks(), values.data());

  testing::Golden expected = testing::read_golden("initialization.txt");
  std::erase_if(expected, [&](const auto& entry) { return !entry.first.starts_with(family + "/"); });
  for (const ParameterInfo& info : store.tensors()) {
    int64_t row = 0;
    const int64_t row_elements = info.elements() / info.shape[0];
    for (const ParameterPart& part : info.parts) {
      SCOPED_TRACE(part.name);
      const float* const first = values.data() + info.first_chunk * kChunkElements + row * row_elements;
      const int64_t count = part.rows * row_elements;
      row += part.rows;
      const auto found = expected.find(family + "/" + part.name);
      ASSERT_NE(found, expected.end());
      const double mean = found->second[0];
      const double deviation = found->second[1];
      expected.erase(found);
      if (deviation == 0.0) {  // ones or zeros
        for (int64_t i = 0; i < count; ++i) ASSERT_EQ(static_cast<double>(first[i]), mean) << i;
        continue;
      }
      double sum = 0.0, squares = 0.0, inside = 0.0;
      for (int64_t i = 0; i < count; ++i) {
        const auto value = static_cast<double>(first[i]);
        sum += value;
        squares += value * value;
        inside += std::fabs(value) < deviation ? 1.0 : 0.0;
      }
      // Five standard errors of ours, and theirs, who drew four times as much.
      const double n = static_cast<double>(count);
      const double errors = 5.0 * std::sqrt(1.25 / n);
      EXPECT_NEAR(std::sqrt(squares / n), deviation, deviation * errors / std::sqrt(2.0));
      EXPECT_NEAR(sum / n, 0.0, deviation * errors);
      EXPECT_NEAR(inside / n, 0.6827, 0.4655 * errors) << "not normal";
    }
    EXPECT_EQ(row, info.shape[0]);
  }
  for (const auto& [name, numbers] : expected) ADD_FAILURE() << name << " of transformers is not ours";
}

INSTANTIATE_TEST_SUITE_P(Families, InitialValues, ::testing::ValuesIn(kInitializationCases),
                         [](const auto& tested) { return std::string(tested.param.family); });

}  // namespace
}  // namespace tsugi
