// Ids and files against Hugging Face's libraries: tests/golden/check_tokenizer_json.py made the golden_file files.
#include "core/data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/data/json.h"
#include "core/data/utf8.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using testing::TestFolder;

std::string golden_file(const std::string& name) { return std::string(TSUGI_SOURCE_DIR) + "/tests/golden/" + name; }

struct TokenCase {
  std::string text;
  std::vector<int32_t> ids;
};
std::vector<TokenCase> cases(const std::string& name) {
  std::vector<TokenCase> result;
  for (const JsonValue& value : read_json(golden_file(name), 1 << 20).elements()) {
    TokenCase one{value.require_string("text"), {}};
    for (const JsonValue& id : value.require_array("ids").elements()) {
      one.ids.push_back(static_cast<int32_t>(id.as_int(0, 1 << 20)));
    }
    result.push_back(one);
  }
  return result;
}

void expect_golden(const Tokenizer& tokenizer, const std::string& name) {
  const std::vector<TokenCase> all = cases("tokenizer_" + name + "_cases.json");
  ASSERT_EQ(all.size(), 7u);
  for (const TokenCase& one : all) {
    EXPECT_EQ(tokenizer.encode(one.text), one.ids) << one.text;
    EXPECT_EQ(tokenizer.decode(one.ids), one.text);
  }
}

std::string golden_text() {
  std::string text;
  for (const TokenCase& one : cases("tokenizer_characters_cases.json")) text += one.text;
  return text;
}

TEST(Tokenizer, BytesEqualHuggingFace) {
  const auto tokenizer = make_byte_tokenizer();
  EXPECT_EQ(tokenizer->vocabulary(), 256);
  expect_golden(*tokenizer, "bytes");
  expect_golden(*load_tokenizer(golden_file("tokenizer_bytes.json")), "bytes");
  EXPECT_EQ(tokenizer->to_json(), read_file(golden_file("tokenizer_bytes.json"), 1 << 20));
}

TEST(Tokenizer, CharactersEqualHuggingFace) {
  const auto tokenizer = make_character_tokenizer(golden_text());
  EXPECT_EQ(tokenizer->vocabulary(), 100);
  expect_golden(*tokenizer, "characters");
  expect_golden(*load_tokenizer(golden_file("tokenizer_characters.json")), "characters");
  EXPECT_EQ(nlohmann::json::parse(tokenizer->to_json()),
            nlohmann::json::parse(read_file(golden_file("tokenizer_characters.json"), 1 << 20)));
}

TEST(Tokenizer, BytesTakeAnything) {
  const auto tokenizer = make_byte_tokenizer();
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  const std::vector<int32_t> ids = tokenizer->encode(all);
  for (size_t i = 0; i < 256; ++i) EXPECT_EQ(ids[i], static_cast<int32_t>(i));
  EXPECT_EQ(tokenizer->decode(ids), all);
  for (const int32_t id : {-1, 256}) {
    EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->decode({1, id}); }), HasSubstr("at position 1"));
  }
}

TEST(Tokenizer, CharactersNameWhatTheyLack) {
  const auto tokenizer = make_character_tokenizer("abé世😀");
  EXPECT_EQ(tokenizer->vocabulary(), 5);
  EXPECT_EQ(tokenizer->encode("😀ab世é"), (std::vector<int32_t>{4, 0, 1, 3, 2}));
  const auto encode_error = [&](std::string_view text) {
    return message_of(ExitCode::kData, [&] { tokenizer->encode(text); });
  };
  EXPECT_THAT(encode_error("aéc"), AllOf(HasSubstr("byte 3: "), HasSubstr("U+0063"), HasSubstr("\"c\"")));
  EXPECT_THAT(encode_error("😁"), AllOf(HasSubstr("byte 0: "), HasSubstr("U+1F601")));
  EXPECT_THAT(encode_error("ab\xC3"), HasSubstr("byte 2: not valid UTF-8"));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->decode({0, 5}); }), HasSubstr("id 5 at position 1"));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->decode({-1}); }), HasSubstr("id -1 at position 0"));
  EXPECT_THAT(message_of(ExitCode::kData, [] { make_character_tokenizer("ok\xFF"); }), HasSubstr("byte 2"));
}

TEST(Tokenizer, EveryCodePointSurvives) {
  std::string text;
  for (char32_t c = 0; c < 0x110000; c += (c < 0x3000 ? 1 : 211)) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(c, text);
  }
  const auto tokenizer = make_character_tokenizer(text);
  const std::vector<int32_t> ids = tokenizer->encode(text);
  EXPECT_EQ(static_cast<int64_t>(ids.size()), tokenizer->vocabulary());
  for (size_t i = 0; i < ids.size(); ++i) ASSERT_EQ(ids[i], static_cast<int32_t>(i)) << "ascending code points";
  EXPECT_EQ(tokenizer->decode(ids), text);
  const TestFolder folder;
  EXPECT_EQ(load_tokenizer(folder.write("tokenizer.json", tokenizer->to_json()))->encode(text), ids);
}

// Unicode 15, table 3-7 and the examples beside it.
TEST(Utf8, RefusesWhatIsNotWellFormed) {
  for (const std::string bad : {"\x80", "\xBF", "\xC0\x80", "\xC1\xBF", "\xC2", "\xC2\x41", "\xE0\x9F\xBF", "\xE1\x80",
                                "\xE1\x80\x41", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
                                "\xF5\x80\x80\x80", "\xFE", "\xFF", "\xF1\x80\x80", "\xF1\x80\x80\x41"}) {
    EXPECT_EQ(code_point_at(bad, 0).bytes, 0) << ::testing::PrintToString(bad);
  }
  EXPECT_EQ(code_point_at("x\xED\x9F\xBF", 1).value, 0xD7FFu);
  EXPECT_EQ(code_point_at("\xEE\x80\x80", 0).value, 0xE000u);
  EXPECT_EQ(code_point_at("\xF0\x90\x80\x80", 0).value, 0x10000u);
  EXPECT_EQ(code_point_at("\xF4\x8F\xBF\xBF", 0).value, 0x10FFFFu);
}

TEST(Tokenizer, LoadingNamesTheElementItDoesNotKnow) {
  const TestFolder folder;
  const auto error = [&](const std::string& name, auto change) {
    nlohmann::json json = nlohmann::json::parse(read_file(golden_file(name), 1 << 20));
    change(json);
    const std::string path = folder.write("tokenizer.json", json.dump());
    std::string message = message_of(ExitCode::kData, [&] { load_tokenizer(path); });
    EXPECT_THAT(message, HasSubstr(path));
    return message;
  };
  const auto bytes = [&](auto change) { return error("tokenizer_bytes.json", change); };
  const auto characters = [&](auto change) { return error("tokenizer_characters.json", change); };
  using Json = nlohmann::json;
  EXPECT_THAT(bytes([](Json& j) { j["version"] = "2.0"; }), HasSubstr("field version"));
  EXPECT_THAT(bytes([](Json& j) { j["extra"] = 1; }), HasSubstr("unknown member \"extra\""));
  EXPECT_THAT(bytes([](Json& j) { j["normalizer"] = {{"type", "NFKC"}}; }), HasSubstr("field normalizer.type"));
  EXPECT_THAT(bytes([](Json& j) { j["added_tokens"] = Json::array({1}); }), HasSubstr("field added_tokens"));
  EXPECT_THAT(bytes([](Json& j) { j["pre_tokenizer"]["use_regex"] = 1; }), HasSubstr("pre_tokenizer.use_regex"));
  EXPECT_THAT(bytes([](Json& j) { j["decoder"] = nullptr; }), HasSubstr("field decoder"));
  EXPECT_THAT(bytes([](Json& j) { j.erase("post_processor"); }), HasSubstr("lacks \"post_processor\""));
  EXPECT_THAT(bytes([](Json& j) { j["model"]["type"] = "Morphemes"; }), HasSubstr("field model.type: \"Morphemes\""));
  EXPECT_THAT(bytes([](Json& j) { j["model"]["merges"] = {"a b"}; }), HasSubstr("field model.merges"));
  EXPECT_THAT(bytes([](Json& j) { j["model"]["dropout"] = 0.1; }), HasSubstr("field model.dropout: is not"));
  EXPECT_THAT(bytes([](Json& j) { j["model"]["vocab"].erase("A"); }), HasSubstr("must be in [0, 254], not 255"));
  EXPECT_THAT(bytes([](Json& j) { j["model"]["vocab"]["A"] = 66; }), HasSubstr("field model.vocab.B"));
  EXPECT_THAT(characters([](Json& j) { j["normalizer"] = {{"type", "NFC"}}; }), HasSubstr("field normalizer"));
  EXPECT_THAT(characters([](Json& j) { j["pre_tokenizer"]["behavior"] = "Removed"; }), HasSubstr("pre_tokenizer"));
  EXPECT_THAT(characters([](Json& j) { j["decoder"]["type"] = "BPEDecoder"; }), HasSubstr("field decoder"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["unk_token"] = "a"; }), HasSubstr("model.unk_token"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["vocab"] = Json::object(); }), HasSubstr("is empty"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["vocab"]["ab"] = 100; }),
              HasSubstr("model.vocab.ab: is not a single"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["vocab"][""] = 100; }), HasSubstr("not a single character"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["vocab"]["a"] = 100; }), HasSubstr("must be in [0, 99], not 100"));
  EXPECT_THAT(characters([](Json& j) { j["model"]["vocab"]["a"] = 26; }), HasSubstr("has the id of U+"));
}

}  // namespace
}  // namespace tsugi
