// The small files beside a checkpoint's weights: settings of generation, and what makes others read the tokenizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/data/tokenizer/tokenizer.h"
#include "launch/training_data.h"
#include "tests/core/checkpoint/checkpoint_testing.h"

namespace tsugi::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

HuggingfaceModel described(const std::string& family) {
  HuggingfaceModel description;
  parse_config("layers: 1 heads: 2 width: 16 context: 16 vocabulary: 500 family: " + family, "test", {},
               description.model);
  resolve_family(description.model);
  return description;
}

std::string golden_tokenizer(const std::string& name) {
  return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_" + name + ".json";
}

TEST(CheckpointTexts, ModelsThatGenerateSayHowTheirTextsEnd) {
  const int32_t end = load_tokenizer(golden_tokenizer("bpe_llama3"))->end_of_text().value();
  for (const char* family : {"GPT2", "LLAMA", "QWEN3"}) {
    SCOPED_TRACE(family);
    HuggingfaceModel description = described(family);
    auto texts = checkpoint_texts(description, golden_tokenizer("bpe_llama3"), "", {});
    const std::string said = "\"eos_token_id\": " + std::to_string(end);
    EXPECT_THAT(texts.at("generation_config.json"), HasSubstr(said));
    EXPECT_THAT(texts.at("config.json"), HasSubstr(said));
    // What is said of the model wins; bytes have no end of text.
    description.token_ids["eos_token_id"] = "7";
    texts = checkpoint_texts(description, golden_tokenizer("bpe_llama3"), "", {});
    EXPECT_THAT(texts.at("generation_config.json"), HasSubstr("\"eos_token_id\": 7"));
    texts = checkpoint_texts(described(family), golden_tokenizer("bytes"), "", {});
    EXPECT_THAT(texts.at("generation_config.json"), Not(HasSubstr("eos_token_id")));
    texts = checkpoint_texts(described(family), "", "", {});
    EXPECT_TRUE(texts.contains("generation_config.json"));
  }
}

TEST(CheckpointTexts, GenerationSettingsOfTheOriginStay) {
  const TemporaryFolder origin;
  write_bytes(origin.path() + "/generation_config.json", "{\"temperature\": 0.5}");
  const auto texts = checkpoint_texts(described("LLAMA"), golden_tokenizer("bpe_gpt2"), origin.path(), {});
  EXPECT_EQ(texts.at("generation_config.json"), "{\"temperature\": 0.5}");
}

TEST(CheckpointTexts, EncodersAndClassifiersDoNotGenerate) {
  HuggingfaceModel classifier = described("GPT2");
  classifier.labels = {"no", "yes"};
  for (const HuggingfaceModel& description : {described("BERT"), described("ROBERTA"), classifier}) {
    const auto texts = checkpoint_texts(description, golden_tokenizer("bpe_gpt2"), "", {});
    EXPECT_FALSE(texts.contains("generation_config.json")) << texts.at("config.json");
    EXPECT_THAT(texts.at("config.json"), Not(HasSubstr("\"eos_token_id\": 0")));
  }
}

TEST(CheckpointTexts, QwenTwoBringsTheTokenizerOfItsFile) {
  for (const char* family : {"GPT2", "LLAMA", "QWEN3", "BERT"}) {
    const auto texts = checkpoint_texts(described(family), golden_tokenizer("bpe_gpt2"), "", {});
    EXPECT_FALSE(texts.contains("tokenization_tsugi.py")) << family;
    EXPECT_THAT(texts.at("tokenizer_config.json"), Not(HasSubstr("auto_map")));
  }
  auto texts = checkpoint_texts(described("QWEN2"), golden_tokenizer("bpe_gpt2"), "", {});
  EXPECT_THAT(texts.at("tokenizer_config.json"), HasSubstr("tokenization_tsugi.FileTokenizer"));
  EXPECT_THAT(texts.at("tokenization_tsugi.py"), HasSubstr("class FileTokenizer(PreTrainedTokenizerFast):"));
  // It goes where the tokenizer goes: to what is trained from there.
  const TemporaryFolder origin;
  for (const auto& [name, text] : texts) write_bytes(origin.path() + "/" + name, text);
  texts = checkpoint_texts(described("QWEN2"), origin.path() + "/tokenizer.json", origin.path(), {});
  EXPECT_TRUE(texts.contains("tokenization_tsugi.py"));
}

}  // namespace
}  // namespace tsugi::testing
