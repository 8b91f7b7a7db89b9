// Features of texts, and few labels.
#include <gtest/gtest.h>

#include "core/config/config.h"
#include "core/downstream/few_labels.h"
#include "core/downstream/text_batches.h"
#include "ops/base/error.h"
#include "tests/ops/testing.h"

namespace tsugi {
namespace {

struct TextModel {
  explicit TextModel(const std::string& family) : cpu(2) {
    RunConfig config;
    parse_config(
        "steps: 1 data { train: \"unused\" } batch { micro_batch: 1 } optimizer { learning_rate: 1 } model { " +
            family + " layers: 2 heads: 2 width: 8 context: 6 vocabulary: 40 }" +
            (family.find("BERT") != std::string::npos ? "objective { masked_lm {} }" : ""),
        "test", {}, config);
    validate_run(config);
    model = std::make_unique<Transformer>(config.model(), store);
    store.allocate(cpu, DType::kF32);
    store.initial_values(3, 0, store.chunks(), store.working().data<float>());
  }
  FeatureTable features(const std::vector<std::vector<int32_t>>& texts, TextPooling pooling, int64_t rows) const {
    return text_features(cpu, *model, texts, pooling, rows);
  }

  testing::CpuContext cpu;
  ParameterStore store;
  std::unique_ptr<Transformer> model;
};

std::vector<float> feature_row(const FeatureTable& table, int64_t row) {
  return {table.values.begin() + row * table.width, table.values.begin() + (row + 1) * table.width};
}

// A text alone, of its own length, has the features that it has among others: padding is seen by nobody.
TEST(TextFeatures, DoNotDependOnWhatComesAlong) {
  const std::vector<std::vector<int32_t>> texts{{5, 6, 7}, {}, {1, 2, 3, 4, 5, 6, 7, 8}, {9}, {5, 6, 8}};
  for (const char* const family : {"family: GPT2", "family: BERT"}) {
    SCOPED_TRACE(family);
    const TextModel made(family);
    for (const TextPooling pooling : {TextPooling::kMean, TextPooling::kFirst, TextPooling::kLast}) {
      const FeatureTable all = made.features(texts, pooling, 5);
      ASSERT_EQ(all.rows(), 5);
      for (size_t i = 0; i < texts.size(); ++i) {
        std::vector<int32_t> text = texts[i];
        if (text.empty()) text = {0};
        if (text.size() > 6) text.resize(6);  // the context
        const std::vector<float> alone = feature_row(made.features({text}, pooling, 1), 0);
        const std::vector<float> among = feature_row(all, static_cast<int64_t>(i));
        for (size_t c = 0; c < 8; ++c) EXPECT_NEAR(among[c], alone[c], 2e-6) << "text " << i;
      }
    }
  }
}

TEST(TextFeatures, AreOutputsOfTheirTokens) {
  const TextModel made("family: BERT");
  const std::vector<int32_t> text{5, 6, 7, 3};
  const Tensor tokens = made.cpu.context.empty({1, 4}, DType::kI32);
  std::copy(text.begin(), text.end(), tokens.data<int32_t>());
  Tape tape(made.cpu.context, false);
  const Tensor hidden = made.model->hidden(tape, tokens, {}).value;
  const std::vector<float> mean = feature_row(made.features({text}, TextPooling::kMean, 4), 0);
  const std::vector<float> first = feature_row(made.features({text}, TextPooling::kFirst, 4), 0);
  const std::vector<float> last = feature_row(made.features({text}, TextPooling::kLast, 4), 0);
  for (int64_t c = 0; c < 8; ++c) {
    const float* const x = hidden.data<float>() + c;
    const auto column = static_cast<size_t>(c);
    EXPECT_NEAR(mean[column], (x[0] + x[8] + x[16] + x[24]) / 4.0f, 2e-6);
    EXPECT_NEAR(first[column], x[0], 2e-6);
    EXPECT_NEAR(last[column], x[24], 2e-6);
  }
}

TEST(FewLabels, TheFirstOfEachClassOrAnError) {
  const std::vector<int32_t> labels{1, 0, 1, 1, 2, 0, 2};
  const std::vector<std::string> classes{"a", "b", "c"};
  using Places = std::vector<int64_t>;
  EXPECT_EQ(first_of_each_label(labels, 1), (Places{0, 1, 4}));
  EXPECT_EQ(first_of_each_label(labels, 0).size(), 7u);
  EXPECT_EQ(require_of_each_class(labels, classes, 2, "x"), (Places{0, 1, 2, 4, 5, 6}));
  EXPECT_EQ(require_of_each_class(labels, classes, 0, "x").size(), 7u);
  const auto refused = [&](const std::vector<std::string>& names, int64_t count) -> std::string {
    try {
      require_of_each_class(labels, names, count, "set");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::kData);
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(refused(classes, 3), "set: class \"a\" has 2 examples, fewer than 3");
  EXPECT_EQ(refused({"a", "b", "c", "d"}, 0), "set: class \"d\" has 0 examples, fewer than 1");
}

}  // namespace
}  // namespace tsugi
