// BPE against Hugging Face `tokenizers`: tests/golden/check_tokenizer.py made the golden files (and compares
// many more texts).
#include <gmock/gmock.h>

#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/data/json.h"
#include "core/data/tokenizer/bpe_trainer.h"
#include "core/data/tokenizer/byte_level.h"
#include "core/data/tokenizer/normalizer.h"
#include "core/data/tokenizer/tokenizer.h"
#include "ops/tensor/philox.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::bpe_golden_path;
using testing::message_of;
using testing::TestFolder;

Json bpe_golden(const std::string& name) { return Json::parse(read_file(bpe_golden_path(name), 1 << 20)); }

std::vector<std::string> golden_texts() { return bpe_golden("text").get<std::vector<std::string>>(); }

class BpeGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(BpeGolden, EncodesAndDecodesLikeHuggingFace) {
  const auto tokenizer = load_tokenizer(bpe_golden_path(GetParam()));
  const Json cases = bpe_golden(std::string(GetParam()) + "_cases");
  ASSERT_EQ(cases.size(), 60u);
  for (const Json& one : cases) {
    const auto text = one["text"].get<std::string>();
    const auto ids = one["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer->encode(text), ids) << text;
    StreamDecoder stream(*tokenizer);
    std::string decoded;
    for (const int32_t id : ids) decoded += stream.push(id);
    EXPECT_EQ(decoded + stream.finish(), one["decoded"].get<std::string>()) << text;
  }
}
INSTANTIATE_TEST_SUITE_P(Forms, BpeGolden,
                         ::testing::Values("gpt2", "llama3", "qwen2", "o200k", "deepseek", "digits", "next", "removed",
                                           "llama2", "metaspace"),
                         [](const auto& one) { return std::string(one.param); });

TEST(BpeTrainer, GivesHuggingFacesVocabularyAndMerges) {
  const std::vector<std::string> texts = golden_texts();
  const std::vector<std::string_view> documents(texts.begin(), texts.end());
  const BpeTrainingOptions options{450, {"<|endoftext|>", "<|begin_of_text|>"}, 0};
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const std::string name : {"gpt2", "llama3", "qwen2", "o200k"}) {
      const PieceCounter::Options pieces{*pattern_of_name(name), name == "qwen2"};
      PieceCounter counter(pool, pieces);
      counter.add(documents);
      const std::string ours = bpe_tokenizer_json(train_bpe(counter, options), options, pieces);
      Json expected = bpe_golden(name);
      EXPECT_EQ(Json::parse(ours)["model"]["merges"], expected["model"]["merges"]) << name;
      EXPECT_EQ(Json::parse(ours)["model"]["vocab"], expected["model"]["vocab"]) << name;
      // Theirs has more elements where the test of encoding wants them.
      expected["model"]["ignore_merges"] = false;
      expected["post_processor"] = nullptr;
      expected["pre_tokenizer"]["trim_offsets"] = true;
      expected["decoder"] = Json::parse(ours)["decoder"];
      if (name == "gpt2") {
        EXPECT_EQ(Json::parse(ours), expected);
      }
      EXPECT_EQ(parse_tokenizer(ours, name)->vocabulary(), 450);
    }
  }
}

TEST(BpeTrainer, EqualCountsGoToTheSmallerIds) {
  // All pairs occur once: (a, b) has the smallest ids, then (c, d); abcd last.
  ThreadPool pool(1);
  PieceCounter counter(pool, {SplitPattern::kGpt2});
  const std::vector<std::string_view> documents = {"cdab"};
  counter.add(documents);
  const BpeVocabulary found = train_bpe(counter, {259, {}, 0});
  EXPECT_THAT(found.names, ::testing::SizeIs(259));
  EXPECT_EQ(found.names[256], "ab");
  EXPECT_EQ(found.names[257], "cd");
  EXPECT_EQ(found.names[258], "cdab");
  // min_frequency ends it; so does the end of pairs.
  EXPECT_EQ(train_bpe(counter, {259, {}, 2}).names.size(), 256u);
  EXPECT_EQ(train_bpe(counter, {1000, {}, 0}).names.size(), 259u);
}

TEST(BpeTrainer, BadOptions) {
  ThreadPool pool(1);
  const PieceCounter counter(pool, {});
  const auto error = [&](const BpeTrainingOptions& options) {
    return message_of(ExitCode::kUsage, [&] { train_bpe(counter, options); });
  };
  EXPECT_THAT(error({256, {"<a>"}, 0}), HasSubstr("must be in [257, "));
  EXPECT_THAT(error({300, {""}, 0}), HasSubstr("empty"));
  EXPECT_THAT(error({300, {"<a>", "<a>"}, 0}), HasSubstr("twice"));
}

std::string long_text() {
  std::string text;
  for (const std::string& part : golden_texts()) text += part + " and so on ";
  while (text.size() < 3'000'000) text += std::string(text);
  return text;
}

TEST(PieceCounter, ThreadsAndCutsDoNotMatter) {
  const std::string text = long_text();
  std::vector<std::pair<std::string, int64_t>> expected;
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads);
    PieceCounter counter(pool, {SplitPattern::kO200k});
    const std::vector<std::string_view> documents = {text, "\xFFx\xC3", ""};
    counter.add(documents);
    EXPECT_EQ(counter.bytes(), static_cast<int64_t>(text.size()) + 3);
    EXPECT_EQ(counter.invalid_bytes(), 2);
    EXPECT_EQ(counter.forgotten(), 0);
    std::vector<std::pair<std::string, int64_t>> found;
    int64_t bytes = 0;
    for (const auto& [piece, count] : counter.sorted()) {
      found.emplace_back(piece, count);
      bytes += count * static_cast<int64_t>(piece.size());
    }
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size()) + 1);
    if (threads == 1) {
      expected = found;
      // Not cut: the pieces of the text one by one.
      std::map<std::string, int64_t> one_by_one{{"x", 1}};
      const char* const end = text.data() + text.size();
      for (const char* p = text.data(); p < end;) {
        const char* const next = piece_end(SplitPattern::kO200k, p, end);
        ++one_by_one[std::string(p, next)];
        p = next;
      }
      EXPECT_EQ(found, (std::vector<std::pair<std::string, int64_t>>(one_by_one.begin(), one_by_one.end())));
    }
    EXPECT_EQ(found, expected);
  }
}

TEST(PieceCounter, ForgetsTheRarestWhenThereAreTooMany) {
  std::string text;
  for (int i = 0; i < 1000; ++i) text += " often";
  for (int i = 0; i < 3000; ++i) text += " w" + std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i);
  ThreadPool pool(2);
  PieceCounter counter(pool, {SplitPattern::kGpt2, false, 2000});
  const std::vector<std::string_view> documents = {text};
  counter.add(documents);
  EXPECT_LE(counter.different(), 1000);
  EXPECT_GT(counter.forgotten(), 2000);
  EXPECT_GE(counter.forgotten_count(), 1);
  bool kept = false;
  for (const auto& [piece, count] : counter.sorted()) kept |= piece == " often" && count == 1000;
  EXPECT_TRUE(kept);
}

/// Bytes that are not text, among text.
std::string random_bytes(uint32_t index, size_t size) {
  std::string bytes;
  for (uint32_t i = 0; bytes.size() < size; ++i) {
    for (const uint32_t word : philox4x32({i, index, 0, 0}, 5)) {
      if (word % 5 == 0) bytes += "some words 12 ";
      if (word % 5 == 1) bytes += "語 é";
      bytes.push_back(static_cast<char>(word >> 16));
    }
  }
  bytes.resize(size);
  return bytes;
}

TEST(BpeTokenizer, RandomBytesComeBack) {
  for (const char* name : {"gpt2", "o200k", "deepseek"}) {
    const auto tokenizer = load_tokenizer(bpe_golden_path(name));
    for (uint32_t i = 0; i < 300; ++i) {
      const std::string bytes = random_bytes(i, i);
      EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes)), bytes);
    }
    const std::string bytes = random_bytes(1000, 1 << 18);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(bytes)), bytes);
  }
}

TEST(BpeTokenizer, StreamGivesWholeCharacters) {
  const auto tokenizer = make_byte_tokenizer();
  const auto stream = [&](std::string_view bytes) {
    StreamDecoder decoder(*tokenizer);
    std::vector<std::string> parts;
    for (const char byte : bytes) parts.push_back(decoder.push(static_cast<uint8_t>(byte)));
    parts.push_back(decoder.finish());
    return parts;
  };
  EXPECT_THAT(stream("aé"), ElementsAre("a", "", "é", ""));
  EXPECT_THAT(stream("\xF0\x9F\x98\x80"), ElementsAre("", "", "", "😀", ""));
  EXPECT_THAT(stream("\xF0\x9F\x98"), ElementsAre("", "", "", "\uFFFD"));
  EXPECT_THAT(stream("\xE2\x82z"), ElementsAre("", "", "\uFFFDz", ""));
  EXPECT_THAT(stream("\x80\xC0\xED\xA0"), ElementsAre("\uFFFD", "\uFFFD", "", "\uFFFD\uFFFD", ""));
  EXPECT_THAT(stream("\xF4\x90"), ElementsAre("", "\uFFFD\uFFFD", ""));
  StreamDecoder decoder(*tokenizer);
  EXPECT_THAT(message_of(ExitCode::kData, [&] { decoder.push(256); }), HasSubstr("id 256"));
}

TEST(BpeTokenizer, SpecialTokens) {
  const auto tokenizer = load_tokenizer(bpe_golden_path("llama3"));
  EXPECT_EQ(tokenizer->find_token("<|endoftext|>"), 0);
  EXPECT_EQ(tokenizer->end_of_text(), 0);
  EXPECT_TRUE(tokenizer->is_special(1));
  EXPECT_FALSE(tokenizer->is_special(2));
  EXPECT_THAT(tokenizer->added_tokens(), ::testing::SizeIs(2));
  EXPECT_THAT(tokenizer->encode("<|endoftext|>"), ElementsAre(1, 0)) << "after <|begin_of_text|>";
  EXPECT_THAT(tokenizer->encode("<|endoftext|>", {false, true}), ElementsAre(0));
  EXPECT_THAT(tokenizer->encode("", {false, true}), ElementsAre());
  const std::vector<int32_t> plain = tokenizer->encode("<|endoftext|>", {false, false});
  EXPECT_THAT(plain, ::testing::Not(::testing::Contains(0)));
  EXPECT_EQ(tokenizer->decode(plain), "<|endoftext|>");
  EXPECT_EQ(tokenizer->decode({1, 0}), "<|begin_of_text|><|endoftext|>");
  StreamDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.push(0), "");
  EXPECT_EQ(make_byte_tokenizer()->end_of_text(), std::nullopt);
}

TEST(BpeTokenizer, NormalizedAddedTokensAreDecodedAsTheyAreMet) {
  // As Hugging Face's tokenizers 0.23.3 decode them; this file's normalizer prepends "> " and composes.
  const auto tokenizer = load_tokenizer(bpe_golden_path("next"));
  const std::optional<int32_t> id = tokenizer->find_token("e\u0301");
  ASSERT_TRUE(id.has_value());
  EXPECT_EQ(tokenizer->decode({*id}), "> é");
}

TEST(BpeTokenizer, ManyThreadsEncodeWithOneTokenizer) {
  const auto tokenizer = load_tokenizer(bpe_golden_path("o200k"));
  const std::vector<std::string> texts = golden_texts();
  const std::vector<std::string_view> documents(texts.begin(), texts.end());
  std::vector<std::vector<int32_t>> expected;
  for (const std::string& text : texts) expected.push_back(tokenizer->encode(text));
  ThreadPool pool(4);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(encode_documents(pool, *tokenizer, documents), expected);
  // The first document's error, whoever meets another one first.
  const auto characters = make_character_tokenizer("ab");
  const std::vector<std::string_view> bad = {"ab", "ac", "ad"};
  EXPECT_THAT(message_of(ExitCode::kData, [&] { encode_documents(pool, *characters, bad); }), HasSubstr("U+0063"));
}

TEST(BpeTokenizer, LongPiecesTakeNoQuadraticTime) {
  const auto tokenizer = load_tokenizer(bpe_golden_path("gpt2"));
  for (const char* unit : {"a", "ab", "e", "語", "-"}) {
    std::string text;
    while (text.size() < 500'000) text += unit;
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  }
  // Both ways to merge agree: a long piece is as its parts where no merge crosses them.
  const std::vector<int32_t> once = tokenizer->encode("bcdfghjk");
  std::vector<int32_t> ids = tokenizer->encode("bcdfghjkbcdfghjkbcdfghjkbcdfghjkbcdfghjkbcdfghjkbcdfghjkbcdfghjk");
  EXPECT_EQ(ids.size(), 8 * once.size());
}

/// Merges done as the definition says: the pair that stands first in the list, the leftmost of them, until none is
/// left.
std::vector<int32_t> encode_plainly(const Json& model, const std::string& piece) {
  std::map<std::pair<std::string, std::string>, size_t> ranks;
  for (const Json& merge : model["merges"]) ranks.emplace(std::pair(merge[0], merge[1]), ranks.size());
  std::vector<std::string> symbols;
  for (const char byte : piece) symbols.push_back(byte_names()[static_cast<uint8_t>(byte)]);
  while (true) {
    size_t best = 0;
    size_t least = ranks.size();
    for (size_t i = 0; i + 1 < symbols.size(); ++i) {
      const auto found = ranks.find({symbols[i], symbols[i + 1]});
      if (found == ranks.end() || found->second >= least) continue;
      least = found->second;
      best = i;
    }
    if (least == ranks.size()) break;
    symbols[best] += symbols[best + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  std::vector<int32_t> ids;
  for (const std::string& symbol : symbols) ids.push_back(model["vocab"][symbol].get<int32_t>());
  return ids;
}

TEST(BpeTokenizer, MergesCrossTheBordersOfCharactersAsTheListSays) {
  // Few letters, of which many share bytes at their beginnings and ends: their merges are in any order, and
  // vocabularies of random text have many tokens that end inside a character.
  const std::vector<std::string> letters = {"a", "b", "é", "ĩ", "ñ", "の", "い", "う", "ぎ", "字", "孑", "ﾎ", "𐐀"};
  ThreadPool pool(1);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const RandomStream random{seed, 0, 1};
    uint64_t draws = 0;
    const auto word = [&](uint64_t most) {
      std::string text;
      for (uint64_t n = 1 + random.word(draws++) % most; n > 0; --n) {
        // The letters before are more frequent, so that ranks differ.
        const uint64_t among = 1 + random.word(draws++) % letters.size();
        text += letters[random.word(draws++) % among];
      }
      return text;
    };
    std::vector<std::string> texts;
    for (int i = 0; i < 300; ++i) texts.push_back(word(6));
    const std::vector<std::string_view> documents(texts.begin(), texts.end());
    PieceCounter counter(pool, PieceCounter::Options{SplitPattern::kLlama3});
    counter.add(documents);
    const BpeTrainingOptions options{270 + static_cast<int64_t>(seed) * 12, {}, 0};
    const std::string json = bpe_tokenizer_json(train_bpe(counter, options), options, {SplitPattern::kLlama3});
    const auto tokenizer = parse_tokenizer(json, "trained");
    const Json model = Json::parse(json)["model"];
    for (const uint64_t most : {uint64_t{8}, uint64_t{40}, uint64_t{200}}) {
      for (int i = 0; i < 10; ++i) {
        const std::string piece = word(most);
        ASSERT_EQ(tokenizer->encode(piece), encode_plainly(model, piece)) << "seed " << seed << ": " << piece;
      }
    }
  }
}

TEST(Normalizer, ComposesLikeHuggingFace) {
  EXPECT_EQ(nfc("e\u0301"), "é");
  EXPECT_EQ(nfc("한"), "한");
  EXPECT_EQ(nfc("\u1112\u1161\u11AB"), "한");
  EXPECT_EQ(nfc("a\u0323\u0307"), "ạ\u0307");
  EXPECT_EQ(nfc("a\u0307\u0323"), "ạ\u0307");
  EXPECT_EQ(nfc("\u212B\u2126"), "ÅΩ");
  EXPECT_EQ(nfc("plain é"), "plain é");
  // Marks later than Unicode 9 keep their places (tokenizers 0.23.3).
  EXPECT_EQ(nfc("a\u1ACC\u0323"), "a\u1ACC\u0323");
  EXPECT_EQ(nfc("\U00011935\U00011930"), "\U00011935\U00011930");
}

TEST(Normalizer, ReplacementsDoNotGrowWithoutBound) {
  nlohmann::json steps = nlohmann::json::array();
  for (int i = 0; i < 8; ++i) {
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", std::string(16, 'a')}});
  }
  const nlohmann::json sequence = {{"type", "Sequence"}, {"normalizers", steps}};
  const Normalizer normalizer(parse_json(sequence.dump(), "test"));
  EXPECT_EQ(normalizer.apply("b"), "b");
  try {
    normalizer.apply("a");  // 4 GiB
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("64 times as long"));
  }
}

TEST(BpeTokenizer, ReadsOlderFiles) {
  // GPT-2's own file: merges as strings, no type, empty prefixes, no use_regex.
  Json json = bpe_golden("gpt2");
  Json merges = Json::array();
  for (const Json& pair : json["model"]["merges"]) {
    merges.push_back(pair[0].get<std::string>() + " " + pair[1].get<std::string>());
  }
  json["model"]["merges"] = merges;
  for (const char* key : {"type", "byte_fallback", "ignore_merges", "fuse_unk"}) json["model"].erase(key);
  json["model"]["continuing_subword_prefix"] = "";
  json["model"]["end_of_word_suffix"] = "";
  json["model"]["unk_token"] = "<|endoftext|>";
  json["pre_tokenizer"].erase("use_regex");
  const auto old = parse_tokenizer(json.dump(), "old");
  const auto tokenizer = load_tokenizer(bpe_golden_path("gpt2"));
  for (const std::string& text : golden_texts()) ASSERT_EQ(old->encode(text), tokenizer->encode(text));
  EXPECT_EQ(parse_tokenizer(old->to_json(), "again")->encode("words"), tokenizer->encode("words"));
}

TEST(BpeTokenizer, HostileFilesAreErrorsThatNameTheElement) {
  const auto error_of = [](const Json& json) {
    const std::string message = message_of(ExitCode::kData, [&] { parse_tokenizer(json.dump(), "FILE"); });
    EXPECT_THAT(message, HasSubstr("FILE: field "));
    return message;
  };
  const auto error = [&](auto change) {
    Json json = bpe_golden("llama3");
    change(json);
    return error_of(json);
  };
  const auto vocab = [](Json& j) -> Json& { return j["model"]["vocab"]; };
  EXPECT_THAT(error([&](Json& j) { vocab(j)["zz"] = 1'000'000'000; }),
              HasSubstr("model.vocab.zz: must be in [0, 450]"));
  EXPECT_THAT(error([&](Json& j) { vocab(j)["zz"] = -1; }), HasSubstr("model.vocab.zz"));
  EXPECT_THAT(error([&](Json& j) { vocab(j)["zz"] = 1.5; }), HasSubstr("model.vocab.zz"));
  EXPECT_THAT(error([&](Json& j) { vocab(j)["zz"] = 3; }), HasSubstr("has the id of"));
  EXPECT_THAT(error([&](Json& j) { vocab(j)["zz"] = 451; }), HasSubstr("must be in [0, 450]")) << "a hole";
  EXPECT_THAT(error([&](Json& j) { vocab(j)[""] = 450; }), HasSubstr("is empty"));
  EXPECT_THAT(error([&](Json& j) { vocab(j) = Json::object(); }), HasSubstr("model.vocab: is empty"));
  EXPECT_THAT(error([&](Json& j) { j["model"]["merges"].push_back({"a", "zz"}); }), HasSubstr("\"zz\" is not in"));
  EXPECT_THAT(error([&](Json& j) { j["model"]["merges"].push_back({"<", "!"}); }), HasSubstr("\"<!\" is not in"));
  EXPECT_THAT(error([&](Json& j) { j["model"]["merges"].push_back(j["model"]["merges"][0]); }),
              HasSubstr("stands in the list before"));
  EXPECT_THAT(error([&](Json& j) { j["model"]["merges"].push_back({"", "a"}); }), HasSubstr("one side is empty"))
      << "a token made of itself";
  for (const Json& bad : {Json("ab"), Json("a b c"), Json(1), Json::array({"a"}), Json::array({"a", 1})}) {
    EXPECT_THAT(error([&](Json& j) { j["model"]["merges"].push_back(bad); }), HasSubstr("model.merges["));
  }
  EXPECT_THAT(error([](Json& j) { j["model"]["byte_fallback"] = true; }), HasSubstr("\"ByteLevel\""));
  EXPECT_THAT(error([](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(error([](Json& j) { j["truncation"] = {{"max_length", 5}}; }), HasSubstr("truncation"));
  EXPECT_THAT(error([](Json& j) { j["pre_tokenizer"] = {{"type", "Whitespace"}}; }), HasSubstr("\"Whitespace\""));
  EXPECT_THAT(error([](Json& j) { j["pre_tokenizer"]["pretokenizers"].erase(1); }), HasSubstr("has no ByteLevel"));
  EXPECT_THAT(
      error([](Json& j) { std::swap(j["pre_tokenizer"]["pretokenizers"][0], j["pre_tokenizer"]["pretokenizers"][1]); }),
      HasSubstr("after ByteLevel"));
  EXPECT_THAT(error([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a"; }),
              HasSubstr("pattern.Regex: the pattern is not valid"));
  EXPECT_THAT(error([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Kept"; }),
              HasSubstr("behavior"));
  EXPECT_THAT(error([](Json& j) { j["normalizer"] = {{"type", "Lowercase"}}; }), HasSubstr("\"Lowercase\""));
  EXPECT_THAT(error([](Json& j) { j["post_processor"] = {{"type", "OtherProcessing"}}; }),
              HasSubstr("\"OtherProcessing\""));
  EXPECT_THAT(error([](Json& j) { j["post_processor"] = {{"type", "BertProcessing"}}; }), HasSubstr("lacks \"cls\""));
  EXPECT_THAT(
      error([](Json& j) { j["post_processor"]["processors"][1]["special_tokens"]["<|begin_of_text|>"]["ids"] = {7}; }),
      HasSubstr("is not the id of its token"));
  EXPECT_THAT(error([](Json& j) { j["post_processor"]["processors"][1]["single"].erase(1); }), HasSubstr("once"));
  EXPECT_THAT(error([](Json& j) { j["decoder"] = {{"type", "Metaspace"}}; }), HasSubstr("field decoder"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][0]["id"] = 1'000'000'000; }), HasSubstr("added_tokens[0].id"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][0]["id"] = 1; }), HasSubstr("the vocabulary says 0"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][1] = j["added_tokens"][0]; }),
              HasSubstr("stands in the list before"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][0]["content"] = ""; }), HasSubstr("content: is empty"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][0]["content"] = std::string(5000, 'x'); }),
              HasSubstr("4096 bytes"));
  EXPECT_THAT(error([](Json& j) { j["added_tokens"][0]["content"] = "<new>"; }), HasSubstr("the vocabulary says 450"));

  const auto text_error = [](const std::string& text) {
    return message_of(ExitCode::kData, [&] { parse_tokenizer(text, "FILE"); });
  };
  EXPECT_THAT(text_error(std::string(100'000, '[')), HasSubstr("nested deeper"));
  EXPECT_THAT(text_error("{\"version\": \"\xFF\"}"), HasSubstr("FILE: byte"));
  EXPECT_THAT(text_error(""), HasSubstr("FILE: byte"));
  // Nested sequences are bounded by the depth of JSON.
  Json json = bpe_golden("gpt2");
  for (int i = 0; i < 100; ++i)
    json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({json["normalizer"]})}};
  EXPECT_THAT(text_error(json.dump()), HasSubstr("nested deeper"));
}

TEST(BpeTokenizer, MissingBytesAreErrorsWhenTheyAreMet) {
  const std::string json = R"({"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
    "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
    "post_processor":null,"decoder":{"type":"ByteLevel"},
    "model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"aab":3},"merges":["a b","a ab"]}})";
  const auto tokenizer = parse_tokenizer(json, "FILE");
  EXPECT_THAT(tokenizer->encode("aabb"), ElementsAre(3, 1));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->encode("abc"); }),
              HasSubstr("the byte 99 is not in the vocabulary of 4 tokens"));
  EXPECT_THAT(message_of(ExitCode::kData, [&] { tokenizer->decode({2, 4}); }), HasSubstr("id 4 at position 1"));
  // A cycle through an unknown token.
  std::string unknown = json;
  unknown.replace(unknown.find("\"vocab\""), 0, "\"unk_token\":\"a\",");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { parse_tokenizer(unknown, "FILE"); }), HasSubstr("model.unk_token"));
}

TEST(ByteLevel, NamesAreThoseOfGpt2) {
  EXPECT_EQ(to_byte_names(" a\n\xC3\xA9\xAD"), "ĠaĊÃ©Ń");
  for (int byte = 0; byte < 256; ++byte) {
    const std::string one(1, static_cast<char>(byte));
    EXPECT_EQ(from_byte_names(to_byte_names(one)), one);
  }
  EXPECT_EQ(from_byte_names("a b"), std::nullopt);
  EXPECT_EQ(from_byte_names("語"), std::nullopt);
  EXPECT_EQ(from_byte_names("\xC3"), std::nullopt);
}

}  // namespace
}  // namespace tsugi
