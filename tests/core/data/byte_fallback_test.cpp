// BPE of characters with byte_fallback; bpe_tokenizer_test.cpp compares it with Hugging Face's on the golden files.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/data/file.h"
#include "core/data/tokenizer/tokenizer.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::bpe_golden_path;
using testing::message_of;

TEST(ByteFallback, SpellsMissingCharactersByTheirBytes) {
  const auto tokenizer = load_tokenizer(bpe_golden_path("llama2"));
  // U+10FFFD is in no text: its four bytes, behind the space that the normalizer puts first.
  const std::vector<int32_t> ids = tokenizer->encode("\U0010FFFD", {false, true});
  ASSERT_THAT(ids, ::testing::SizeIs(5));
  EXPECT_EQ(ids[1], tokenizer->find_token("<0xF4>"));
  EXPECT_EQ(ids[4], tokenizer->find_token("<0xBD>"));
  EXPECT_EQ(tokenizer->decode(ids), "\U0010FFFD");
  EXPECT_EQ(tokenizer->decode(ids, true), " \U0010FFFD") << "as a continuation";
  std::vector<std::string> parts;
  StreamDecoder stream(*tokenizer, true);
  for (const int32_t id : tokenizer->encode("\U0010FFFD")) parts.push_back(stream.push(id));
  EXPECT_THAT(parts, ElementsAre("", "", "", "", "", "\U0010FFFD")) << "<s>, the space, and four bytes";
  StreamDecoder continuation(*tokenizer, true, true);
  EXPECT_EQ(continuation.push(ids[0]), " ");
  EXPECT_EQ(tokenizer->encode("\xFF", {false, true}), std::vector{*tokenizer->find_token("<0xFF>")});
  EXPECT_EQ(tokenizer->encode("", {false, true}), std::vector<int32_t>());
}

TEST(ByteFallback, ATextOfOnePieceTakesNoQuadraticTime) {
  const auto tokenizer = load_tokenizer(bpe_golden_path("llama2"));
  for (const char* unit : {"a", "ab ", "e", "語", "\U0010FFFD"}) {
    std::string text;
    while (text.size() < 500'000) text += unit;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, {false, true})), text);
  }
}

TEST(ByteFallback, HostileFilesAreErrorsThatNameTheElement) {
  const auto error = [](const char* name, auto change) {
    Json json = Json::parse(read_file(bpe_golden_path(name), 1 << 20));
    change(json);
    return message_of(ExitCode::kData, [&] { parse_tokenizer(json.dump(), "FILE"); });
  };
  const auto decoder = [](Json& j) -> Json& { return j["decoder"]["decoders"]; };
  EXPECT_THAT(error("llama2",
                    [](Json& j) {
                      j["model"]["vocab"]["<0x4G>"] = j["model"]["vocab"]["<0x41>"];
                      j["model"]["vocab"].erase("<0x41>");
                    }),
              HasSubstr("model.byte_fallback: is true, but <0x41> is not in the vocabulary"));
  EXPECT_THAT(error("llama2", [&](Json& j) { decoder(j).erase(1); }), HasSubstr("ByteFallback as step 2"));
  EXPECT_THAT(error("llama2", [&](Json& j) { decoder(j).push_back({{"type", "Fuse"}}); }),
              HasSubstr("decoder.decoders[4]: is not supported there"));
  EXPECT_THAT(error("llama2", [&](Json& j) { decoder(j)[3]["stop"] = 1; }), HasSubstr("decoder.decoders[3].stop"));
  EXPECT_THAT(error("llama2", [&](Json& j) { decoder(j)[3]["content"] = "x"; }), HasSubstr("decoders[3].content"));
  EXPECT_THAT(error("llama2", [](Json& j) { j["decoder"] = {{"type", "ByteLevel"}}; }), HasSubstr("decoder.type"));
  EXPECT_THAT(error("metaspace", [](Json& j) { j["pre_tokenizer"]["prepend_scheme"] = "last"; }),
              HasSubstr("pre_tokenizer.prepend_scheme"));
  EXPECT_THAT(error("metaspace", [](Json& j) { j["pre_tokenizer"]["replacement"] = "__"; }),
              HasSubstr("pre_tokenizer.replacement: is not a character"));
  EXPECT_THAT(error("llama3", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0] = {{"type", "Metaspace"}}; }),
              HasSubstr("\"Metaspace\" is not supported"));
}

}  // namespace
}  // namespace tsugi
