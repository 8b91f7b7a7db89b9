// Unigram against Hugging Face `tokenizers`: tests/golden/check_unigram.py made the golden files (and compares many
// more texts).
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/data/tokenizer/character_map.h"
#include "core/data/tokenizer/graphemes.h"
#include "core/data/tokenizer/tokenizer.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Ids = std::vector<int32_t>;
using Json = nlohmann::json;
using testing::message_of;

std::string unigram_golden(const std::string& name) {
  return read_file(std::string(TSUGI_SOURCE_DIR) + "/tests/golden/tokenizer_unigram_" + name + ".json", 1 << 20);
}

class UnigramGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(UnigramGolden, EncodesAndDecodesLikeHuggingFace) {
  const std::string text = unigram_golden(GetParam());
  const auto tokenizer = parse_tokenizer(text, "golden");
  EXPECT_EQ(tokenizer->to_json(), text);
  const Json cases = Json::parse(unigram_golden(std::string(GetParam()) + "_cases"));
  ASSERT_EQ(cases.size(), 60u);
  for (const Json& one : cases) {
    const auto ids = one["ids"].get<Ids>();
    EXPECT_EQ(tokenizer->encode(one["text"].get<std::string>()), ids) << one["text"];
    EXPECT_EQ(tokenizer->decode(ids), one["decoded"].get<std::string>()) << one["text"];
    StreamDecoder stream(*tokenizer);
    std::string decoded;
    for (const int32_t id : ids) decoded += stream.push(id);
    EXPECT_EQ(decoded + stream.finish(), one["decoded"].get<std::string>());
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, UnigramGolden, ::testing::Values("t5", "words", "converted", "never", "fallback"),
                         [](const auto& one) { return std::string(one.param); });

TEST(Unigram, T5sSentinelsAndEnd) {
  const auto tokenizer = parse_tokenizer(unigram_golden("t5"), "golden");
  EXPECT_EQ(tokenizer->end_of_text(), 1);
  EXPECT_EQ(tokenizer->find_token("<extra_id_0>"), tokenizer->vocabulary() - 1);
  const Ids ids = tokenizer->encode("a<extra_id_1> b");
  EXPECT_EQ(ids[ids.size() - 1], 1) << "the template's </s>";
  EXPECT_THAT(ids, ::testing::Contains(tokenizer->vocabulary() - 2));
}

/// A file of these tokens and scores, with members replaced.
std::string unigram_file(const Json& vocabulary, const Json& changes = Json::object()) {
  Json document = Json::parse(R"({"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null,
    "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true},
    "model": {"type": "Unigram", "unk_id": 0, "byte_fallback": false}})");
  document["model"]["vocab"] = vocabulary;
  document.merge_patch(changes);
  return document.dump();
}

// tokenizers' own example (models/unigram/model.rs, Unigram::encode).
const Json kExample =
    Json::parse(R"([["<unk>", 0], ["a", 0], ["b", 0], ["c", 0], ["d", 0], ["cd", 1], ["ab", 2], ["abc", 5],
                                      ["abcd", 10]])");

TEST(Unigram, TheMostProbableWayAndRunsOfUnknownCharactersAreOneToken) {
  const auto tokenizer = parse_tokenizer(unigram_file(kExample), "test");
  EXPECT_THAT(tokenizer->encode("abcdacdxx"), ElementsAre(8, 1, 5, 0));
  EXPECT_THAT(tokenizer->encode("xéya😀"), ElementsAre(0, 1, 0));
  EXPECT_THAT(tokenizer->encode("x<unk>y<unk>"), ElementsAre(0));
  EXPECT_THAT(tokenizer->encode("a\xFF\xFE"), ElementsAre(1, 0)) << "what is no UTF-8";
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
  const std::string long_piece(100000, 'a');
  EXPECT_EQ(tokenizer->encode(long_piece), Ids(100000, 1));
}

TEST(Unigram, BytesOfWhatNoTokenCoversIfAllOfThemAreThere) {
  Json vocabulary = kExample;
  vocabulary.push_back({"<0xC3>", -5});
  vocabulary.push_back({"<0xA9>", -5});
  const Json fallback = Json::parse(R"({"model": {"byte_fallback": true}})");
  const auto tokenizer = parse_tokenizer(unigram_file(vocabulary, fallback), "test");
  EXPECT_THAT(tokenizer->encode("aéa"), ElementsAre(1, 9, 10, 1));
  EXPECT_THAT(tokenizer->encode("aéxa"), ElementsAre(1, 0, 1)) << "of a run, all bytes or none";
  EXPECT_THAT(tokenizer->encode("\xC3"), ElementsAre(9));
  const auto without = parse_tokenizer(unigram_file(vocabulary), "test");
  EXPECT_THAT(without->encode("aéa"), ElementsAre(1, 0, 1));
}

TEST(Unigram, TheFirstTokenLosesItsSpacesAndOthersDoNot) {
  const Json vocabulary = Json::parse(R"([["<unk>", 0], ["▁", -1], ["▁▁a", -1], ["▁a", -1]])");
  const auto tokenizer = parse_tokenizer(unigram_file(vocabulary), "test");
  EXPECT_EQ(tokenizer->decode({2, 3}), "a a");
  EXPECT_EQ(tokenizer->decode({1, 3}), " a");
  EXPECT_EQ(tokenizer->decode({3}, true), " a") << "goes on with another text";
  StreamDecoder stream(*tokenizer);
  std::string text;
  for (const int32_t id : {2, 1, 3}) text += stream.push(id);
  EXPECT_EQ(text, "a  a");
}

TEST(Unigram, RefusesWhatItDoesNotKnow) {
  const auto error = [](const std::string& file) {
    return message_of(ExitCode::kData, [&] { parse_tokenizer(file, "test"); });
  };
  const auto changed = [](const char* changes) { return unigram_file(kExample, Json::parse(changes)); };
  EXPECT_THAT(error(changed(R"({"model": {"unk_id": 9}})")), HasSubstr("model.unk_id"));
  EXPECT_THAT(error(changed(R"({"model": {"alpha": 0.1}})")), HasSubstr("alpha"));
  EXPECT_THAT(error(changed(R"({"decoder": {"type": "BPEDecoder"}})")),
              AllOf(HasSubstr("decoder"), HasSubstr("BPEDecoder")));
  EXPECT_THAT(error(changed(R"({"decoder": {"type": "Metaspace", "replacement": "ab"}})")),
              HasSubstr("not a character"));
  EXPECT_THAT(error(changed(R"({"decoder": {"replacement": "▁", "str_rep": "_"}})")), HasSubstr("str_rep"));
  EXPECT_THAT(error(changed(R"({"decoder": {"add_prefix_space": false}})")), HasSubstr("add_prefix_space"));
  EXPECT_THAT(error(changed(R"({"normalizer": {"type": "Lowercase"}})")), HasSubstr("Lowercase"));
  EXPECT_THAT(error(unigram_file(Json::array())), HasSubstr("is empty"));
  EXPECT_THAT(error(unigram_file(Json::parse(R"([["a", 0], ["b", 0], ["a", 1]])"))),
              AllOf(HasSubstr("vocab[2]"), HasSubstr("before: 0")));
  EXPECT_THAT(error(unigram_file(Json::parse(R"([["a", 0], ["", 0]])"))), HasSubstr("empty"));
  EXPECT_THAT(error(unigram_file(Json::parse(R"([["a", 0], ["b", "0"]])"))), HasSubstr("[\"TOKEN\", SCORE]"));
  const auto tokenizer = parse_tokenizer(changed(R"({"model": {"unk_id": null}})"), "test");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->encode("abé"); }),
              AllOf(HasSubstr("\"é\" at byte 2"), HasSubstr("unk_id")));
}

TEST(Graphemes, EndWhereUnicodeSaysSo) {
  // A few lines of GraphemeBreakTest.txt, and one per rule.
  const std::vector<std::vector<std::string>> texts = {{"a", "b"},
                                                       {"\r\n", "a"},
                                                       {"\n", "\r"},
                                                       {"e\u0301", "e"},
                                                       {"\u0001", "\u0301"},
                                                       {"\u0600a", "b"},
                                                       {"\u1100\u1161\u11A8", "\u1100"},
                                                       {"\uAC00\u11A8", "\uAC01"},
                                                       {"\u1100\uAC01\u11A8"},
                                                       {"\U0001F1E6\U0001F1E7", "\U0001F1E8"},
                                                       {"a", "\U0001F1E6\U0001F1E7", "\U0001F1E8\U0001F1E9"},
                                                       {"\U0001F476\U0001F3FF", "\U0001F476"},
                                                       {"\U0001F6D1\u200D\U0001F6D1"},
                                                       {"a\u200D", "\U0001F6D1"},
                                                       {"\u00A9\u0301\u200D\u00A9"},
                                                       {"\u00A9\u200D\u0301", "\u00A9"}};
  for (const std::vector<std::string>& clusters : texts) {
    std::string text;
    for (const std::string& cluster : clusters) text += cluster;
    size_t at = 0;
    for (const std::string& cluster : clusters) {
      EXPECT_EQ(grapheme_end(text, at), at + cluster.size()) << text << " at " << at;
      at += cluster.size();
    }
  }
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t word = 0;
    for (size_t k = 0; k < 3; ++k) word = word << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0u);
    for (size_t k = 0; k < 4; ++k) text += i + k > bytes.size() ? '=' : kDigits[word >> (18 - 6 * k) & 63];
  }
  return text;
}

std::string map_of(const std::vector<uint32_t>& numbers, const std::string& texts) {
  std::string bytes;
  for (const uint32_t number : numbers) {
    for (int shift = 0; shift < 32; shift += 8) bytes += static_cast<char>(number >> shift & 0xFF);
  }
  return base64(bytes + texts);
}

TEST(CharacterMap, TheShortestRuleOfAClusterAndWhatStandsBehindItIsDropped) {
  const Json document = Json::parse(unigram_golden("t5"));
  const CharacterMap map(document["normalizer"]["precompiled_charsmap"].get<std::string>());
  EXPECT_EQ(map.apply("e\u0301t\u00E9"), "\u00E9t\u00E9");
  EXPECT_EQ(map.apply("a\r\nb\tc\u3000"), "a b c ");
  EXPECT_EQ(map.apply("ﬁ"), "fi");
  EXPECT_EQ(map.apply("ﬁ\u0301"), "fi") << "five bytes";
  EXPECT_EQ(map.apply("ﬁ\u0301\u0301"), "fi\u0301\u0301") << "seven";
  EXPECT_EQ(map.apply(""), "");
}

TEST(CharacterMap, CopiesAndMovedOnesKeepTheirTexts) {
  std::vector<uint32_t> array(257, 0);
  array[0] = 1024;
  array[1 + 'a'] = uint32_t{'a'} | 0x100 | 200 << 10;
  array[1 + ('a' ^ 200)] = uint32_t{1} << 31;  // the text at 0, short enough to lie within a std::string
  std::optional<CharacterMap> map(map_of(array, std::string{'b', '\0'}));
  const CharacterMap copied = *map;
  std::vector<CharacterMap> moved;
  moved.push_back(std::move(*map));
  map.emplace(map_of(array, std::string{'c', '\0'}));
  EXPECT_EQ(copied.apply("cat"), "cbt");
  EXPECT_EQ(moved[0].apply("cat"), "cbt");
  EXPECT_EQ(map->apply("cat"), "cct");
}

TEST(CharacterMap, DamagedOnesAreRefused) {
  const auto error = [](const std::string& map) {
    return message_of(ExitCode::kData, [&] { CharacterMap{map}.apply("ab\u00E9"); });
  };
  EXPECT_THAT(error("abc"), HasSubstr("multiple of 4"));
  EXPECT_THAT(error("ab$d"), HasSubstr("at character 2"));
  EXPECT_THAT(error("a=bc"), HasSubstr("at character 1"));
  EXPECT_THAT(error(""), HasSubstr("no array"));
  EXPECT_THAT(error(map_of({5, 0}, "")), HasSubstr("5 bytes"));
  EXPECT_THAT(error(map_of({8, 0}, "")), HasSubstr("8 bytes"));
  EXPECT_THAT(error(map_of({4, 0}, "\xFF")), HasSubstr("UTF-8"));
  EXPECT_THAT(error(map_of({4, 0}, "")), HasSubstr("leads out"));
  std::vector<uint32_t> array(257, 0);
  array[0] = 1024;
  array[1 + 'a'] = uint32_t{'a'} | 0x100;  // its text stands in its own place
  EXPECT_THAT(error(map_of(array, "x")), HasSubstr("leads to no text"));
  const auto file =
      unigram_file(kExample, {{"normalizer", {{"type", "Precompiled"}, {"precompiled_charsmap", "ab$d"}}}});
  EXPECT_THAT(message_of(ExitCode::kData, [&] { parse_tokenizer(file, "test"); }),
              AllOf(HasSubstr("normalizer.precompiled_charsmap"), HasSubstr("base64")));
}

}  // namespace
}  // namespace tsugi
