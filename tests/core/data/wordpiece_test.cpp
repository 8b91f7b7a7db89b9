// WordPiece against Hugging Face `tokenizers`: tests/golden/check_tokenizer.py made the golden files (and compares many
// more texts).
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/data/tokenizer/bert_text.h"
#include "core/data/tokenizer/bpe_trainer.h"
#include "core/data/tokenizer/tokenizer.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::message_of;

std::string wordpiece_golden(const std::string& name) {
  return read_file(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_wordpiece_" + name + ".json", 1 << 20);
}

class WordPieceGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(WordPieceGolden, EncodesAndDecodesLikeHuggingFace) {
  const std::string text = wordpiece_golden(GetParam());
  const auto tokenizer = parse_tokenizer(text, "golden");
  EXPECT_EQ(tokenizer->to_json(), text);
  const Json cases = Json::parse(wordpiece_golden(std::string(GetParam()) + "_cases"));
  ASSERT_EQ(cases.size(), 60u);
  for (const Json& one : cases) {
    const auto ids = one["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(one["text"].get<std::string>()), ids) << one["text"];
    EXPECT_EQ(tokenizer->decode(ids), one["decoded"].get<std::string>()) << one["text"];
    StreamDecoder stream(*tokenizer);
    std::string decoded;
    for (const int32_t id : ids) decoded += stream.push(id);
    EXPECT_EQ(decoded + stream.finish(), one["decoded"].get<std::string>());
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, WordPieceGolden, ::testing::Values("uncased", "cased", "accents"),
                         [](const auto& one) { return std::string(one.param); });

/// A file of these tokens behind the special ones, with members of the model replaced.
std::string wordpiece_file(const std::vector<std::string>& tokens, const Json& changes = Json::object()) {
  Json document = Json::parse(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
                   "lowercase": true},
    "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": null,
    "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
    "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
              "max_input_chars_per_word": 10, "vocab": {"[UNK]": 0}}})");
  for (const std::string& token : tokens) document["model"]["vocab"][token] = document["model"]["vocab"].size();
  document.merge_patch(changes);
  return document.dump();
}

TEST(WordPiece, TheLongestTokenFromLeftToRightOrUnknown) {
  const auto tokenizer = parse_tokenizer(wordpiece_file({"un", "una", "##aff", "##ff", "##able", "##a", "."}), "test");
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(tokenizer->encode("Unaffable."), (Ids{2, 4, 5, 7}));  // una ##ff ##able, as una is longer than un
  EXPECT_EQ(tokenizer->encode("unaff unx una"), (Ids{2, 4, 0, 2})) << "a word that cannot be cut is unknown as a whole";
  EXPECT_EQ(tokenizer->encode("unaaaaaaaa"), (Ids{2, 6, 6, 6, 6, 6, 6, 6}));
  EXPECT_EQ(tokenizer->encode("unaaaaaaaaa"), (Ids{0})) << "eleven characters";
  EXPECT_EQ(tokenizer->encode("una\xFF"), (Ids{2, 0})) << "what is no UTF-8";
  EXPECT_EQ(tokenizer->encode(" \t\n"), (Ids{}));
  EXPECT_EQ(tokenizer->decode({2, 4, 5, 7}), "unaffable.");
  EXPECT_EQ(tokenizer->decode({1, 2, 0}), "un una [UNK]");
}

TEST(WordPiece, NormalizedAsBertDoes) {
  const BertNormalizer uncased;
  EXPECT_EQ(uncased.apply("\u00C7a\tVA \u200B\uFFFD\xC2\x85x"), "ca va x");
  EXPECT_EQ(uncased.apply("\u4E2D\u6587a\u3042"), " \u4E2D  \u6587 a\u3042");
  EXPECT_EQ(uncased.apply("\u0130\u01C5\u1E9E\uAC00"), "i\u01C6\u00DF\u1100\u1161") << "the dot above is a mark";
  const BertNormalizer cased{.clean_text = true, .handle_chinese_chars = true, .lowercase = false, .strip_accents = {}};
  EXPECT_EQ(cased.apply("\u00C7a"), "\u00C7a");
  const BertNormalizer accents{
      .clean_text = false, .handle_chinese_chars = false, .lowercase = true, .strip_accents = false};
  EXPECT_EQ(accents.apply("\u00C7\u0130\u4E2D\x01"), "\u00E7i\u0307\u4E2D\x01");
  EXPECT_TRUE(is_bert_punctuation('$') && is_bert_punctuation(U'\u00BF') && !is_bert_punctuation(U'\u20AC'));
  EXPECT_TRUE(is_bert_space(U'\u3000') && !is_bert_space(U'\u200B'));
}

TEST(WordPiece, WhatIsNotUnderstoodIsNamed) {
  const auto refusal = [](const Json& changes) {
    return message_of(ExitCode::kData, [&] { parse_tokenizer(wordpiece_file({"a"}, changes), "test"); });
  };
  EXPECT_THAT(refusal({{"model", {{"unk_token", "<unk>"}}}}), HasSubstr("model.unk_token"));
  EXPECT_THAT(refusal({{"model", {{"max_input_chars_per_word", -1}}}}), HasSubstr("max_input_chars_per_word"));
  EXPECT_THAT(refusal({{"model", {{"vocab", {{"b", 1}}}}}}), HasSubstr("has the id of"));
  EXPECT_THAT(refusal({{"model", {{"vocab", {{"b", 7}}}}}}), HasSubstr("model.vocab.b"));
  EXPECT_THAT(refusal({{"model", {{"dropout", 0.1}}}}), HasSubstr("dropout"));
  EXPECT_THAT(refusal({{"decoder", {{"type", "ByteLevel"}}}}), HasSubstr("must be WordPiece"));
  EXPECT_THAT(refusal({{"normalizer", {{"lowercase", 1}}}}), HasSubstr("normalizer.lowercase"));
  EXPECT_THAT(refusal({{"normalizer", {{"more", true}}}}), HasSubstr("more"));
  EXPECT_THAT(refusal({{"pre_tokenizer", {{"more", true}}}}), HasSubstr("more"));
}

TEST(WordPiece, TrainingMergesTheMostFrequentPairs) {
  ThreadPool pool(2);
  const BertNormalizer normalizer;
  PieceCounter::Options pieces;
  pieces.bert = normalizer;
  PieceCounter counter(pool, pieces);
  const std::vector<std::string_view> documents = {"Low low LOW, lower lowest newer \u00E9\u6587", "newer newest"};
  counter.add(documents);
  BpeTrainingOptions options;
  options.vocabulary = 29;
  options.special_tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
  options.wordpiece_alphabet = 9;  // of , e l n o r s t w and the character for which none is left
  const BpeVocabulary found = train_bpe(counter, options);
  const std::vector<std::string> first(found.names.begin() + 5, found.names.begin() + 14);
  EXPECT_EQ(first, (std::vector<std::string>{",", "e", "l", "n", "o", "r", "s", "t", "w"}));
  // l##o (5 times), lo##w (5), ##w##e (5: of equals, the smaller ids), …
  EXPECT_THAT(found.names, ::testing::Contains("lo"));
  EXPECT_THAT(found.names, ::testing::Contains("low"));
  EXPECT_THAT(found.names, ::testing::Contains("##we"));
  EXPECT_EQ(found.names.size(), 29u);
  const std::string file = wordpiece_tokenizer_json(found, options, normalizer);
  const auto tokenizer = parse_tokenizer(file, "trained");
  EXPECT_EQ(tokenizer->vocabulary(), 29);
  const auto ids = tokenizer->encode("LOW \u6587");
  ASSERT_EQ(ids.size(), 4u);  // [CLS] low [UNK] [SEP]
  EXPECT_EQ(ids.front(), 2);
  EXPECT_EQ(ids[2], 1);
  EXPECT_EQ(ids.back(), 3);
  options.special_tokens = {"[PAD]"};
  EXPECT_THAT(message_of(ExitCode::kUsage, [&] { wordpiece_tokenizer_json(found, options, normalizer); }),
              HasSubstr("[UNK]"));
}

}  // namespace
}  // namespace tsugi
