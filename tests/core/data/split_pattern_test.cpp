// The scanners against the regular expressions that they stand for, run by PCRE2.
#include "core/data/tokenizer/split_pattern.h"

#include <gmock/gmock.h>

#include "core/data/tokenizer/regex.h"
#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"
#include "ops/tensor/philox.h"
#include "tests/core/data/testing.h"

namespace tsugi {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

constexpr SplitPattern kAll[] = {SplitPattern::kGpt2, SplitPattern::kLlama3, SplitPattern::kQwen2,
                                 SplitPattern::kO200k};

std::vector<std::string> scan(SplitPattern pattern, std::string_view text) {
  std::vector<std::string> pieces;
  const char* const end = text.data() + text.size();
  for (const char* p = text.data(); p < end;) {
    const char* const next = piece_end(pattern, p, end);
    pieces.emplace_back(p, next);
    p = next;
  }
  return pieces;
}

std::vector<std::string> match(const Regex& regex, std::string_view text) {
  std::vector<std::string> pieces;
  size_t at = 0;
  for (const Regex::Match& one : regex.find_all(text)) {
    EXPECT_EQ(one.begin, at) << "these patterns leave nothing out";
    pieces.emplace_back(text.substr(one.begin, one.end - one.begin));
    at = one.end;
  }
  EXPECT_EQ(at, text.size());
  return pieces;
}

class Random {
 public:
  explicit Random(uint32_t seed) : seed_(seed) {}
  uint32_t below(uint32_t n) {
    if (used_ == 4) {
      block_ = philox4x32({counter_++, 0, 0, 0}, seed_);
      used_ = 0;
    }
    return block_[used_++] % n;
  }

 private:
  uint32_t seed_;
  uint32_t counter_ = 0;
  size_t used_ = 4;
  Philox4 block_{};
};

/// Any code points, neighbours of one block, and the characters that patterns are about.
std::string random_text(Random& random) {
  static const std::string kAbout[] = {
      "'",  "s",    "T",      "re",     "VE",     "m",      "ll",     "LL",     "d", "ſ", " ",  "  ",     "\t", "\r",
      "\n", "\r\n", "/",      ".",      "1",      "23",     "٣",      "Ⅷ",      "½", "é", "É",  "\u0301", "字", "ʰ",
      "ª",  "ǅ",    "\u00A0", "\u180E", "\u200B", "\u3000", "\u2028", "\u0085", "_", "$", "😀", "a",      "A",  "Z"};
  std::string text;
  const uint32_t parts = 1 + random.below(24);
  for (uint32_t i = 0; i < parts; ++i) {
    const uint32_t kind = random.below(8);
    if (kind < 5) {
      text += kAbout[random.below(std::size(kAbout))];
      continue;
    }
    const char32_t block = random.below(kind == 5 ? 0x110000 : 0x3000);
    for (uint32_t n = 1 + random.below(4); n > 0; --n) {
      const char32_t c = std::min<char32_t>(block + random.below(40), 0x10FFFF);
      if (c < 0xD800 || c > 0xDFFF) append_utf8(c, text);
    }
  }
  return text;
}

TEST(SplitPattern, EqualsItsRegularExpressionOnRandomUnicode) {
  for (const SplitPattern pattern : kAll) {
    const Regex regex{pattern_regex(pattern)};
    Random random(static_cast<uint32_t>(pattern));
    for (int i = 0; i < 8000; ++i) {
      const std::string text = random_text(random);
      ASSERT_EQ(scan(pattern, text), match(regex, text)) << pattern_name(pattern) << ": " << text;
    }
  }
}

TEST(SplitPattern, EqualsItsRegularExpressionOnEveryCodePoint) {
  for (const SplitPattern pattern : kAll) {
    const Regex regex{pattern_regex(pattern)};
    std::string text;
    for (char32_t c = 0; c < 0x110000; ++c) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      append_utf8(c, text);
      text += c % 3 == 0 ? "a" : c % 3 == 1 ? " A" : "1'";
      if ((c & 0xFFF) != 0xFFF) continue;
      ASSERT_EQ(scan(pattern, text), match(regex, text))
          << pattern_name(pattern) << " before U+" << std::hex << static_cast<uint32_t>(c);
      text.clear();
    }
  }
}

// From the sources of the patterns: openai/gpt-2 encoder.py, meta-llama/llama3 tokenizer.py, openai/tiktoken
// o200k_base.
TEST(SplitPattern, Examples) {
  EXPECT_THAT(scan(SplitPattern::kGpt2, "I'll go  12345!!\n\n x"),
              ElementsAre("I", "'ll", " go", " ", " 12345", "!!", "\n\n", " x"));
  EXPECT_THAT(scan(SplitPattern::kLlama3, "I'LL go  12345!!\n\n x"),
              ElementsAre("I", "'LL", " go", " ", " ", "123", "45", "!!\n\n", " x"));
  EXPECT_THAT(scan(SplitPattern::kQwen2, "a 123"), ElementsAre("a", " ", "1", "2", "3"));
  EXPECT_THAT(scan(SplitPattern::kO200k, "HTTPServer camelCase I'll"),
              ElementsAre("HTTPServer", " camel", "Case", " I'll"));
}

TEST(SplitPattern, NamesAndExpressionsAreFound) {
  for (const SplitPattern pattern : kAll) {
    EXPECT_EQ(known_pattern(pattern_regex(pattern)), pattern);
    EXPECT_EQ(pattern_of_name(pattern_name(pattern)), pattern);
  }
  EXPECT_EQ(known_pattern("\\s+"), std::nullopt);
  EXPECT_EQ(pattern_of_name("gpt5"), std::nullopt);
}

TEST(SplitPattern, CuttingWhereItIsSafeChangesNoPiece) {
  for (const SplitPattern pattern : kAll) {
    Random random(99);
    int cuts = 0;
    for (int i = 0; i < 5000; ++i) {
      const std::string text = random_text(random) + random_text(random);
      const size_t limit = random.below(static_cast<uint32_t>(text.size()) + 2);
      const size_t cut = safe_cut(text, limit);
      if (cut == 0) continue;
      ASSERT_LE(cut, limit);
      ++cuts;
      std::vector<std::string> parts = scan(pattern, std::string_view(text).substr(0, cut));
      for (std::string& piece : scan(pattern, std::string_view(text).substr(cut))) parts.push_back(piece);
      ASSERT_EQ(parts, scan(pattern, text)) << text;
    }
    EXPECT_GT(cuts, 100);
  }
  EXPECT_EQ(safe_cut("", 5), 0u);
  EXPECT_EQ(safe_cut("a b", 0), 0u);
  EXPECT_EQ(safe_cut("a b", 9), 1u);
  EXPECT_EQ(safe_cut("a  b", 9), 0u);
  EXPECT_EQ(safe_cut(" b", 9), 0u);
}

TEST(UnicodeCategories, CountsOfUnicode16) {
  // DerivedGeneralCategory-16.0.0.txt, "Total code points".
  const auto total = [](const CodePointRanges& ranges) {
    int64_t count = 0;
    for (const auto& [first, last] : ranges) count += last - first + 1;
    return count;
  };
  EXPECT_EQ(total(category_ranges("Lu")), 1858);
  EXPECT_EQ(total(category_ranges("Ll")), 2258);
  EXPECT_EQ(total(category_ranges("Lt")), 31);
  EXPECT_EQ(total(category_ranges("Lm")), 404);
  EXPECT_EQ(total(category_ranges("Lo")), 136477);
  EXPECT_EQ(total(category_ranges("Nd")), 760);
  EXPECT_EQ(total(category_ranges("Zs")), 17);
  EXPECT_EQ(total(category_ranges("Cs")), 2048);
  EXPECT_EQ(total(category_ranges("L")), 1858 + 2258 + 31 + 404 + 136477);
  EXPECT_EQ(total(space_ranges()), 25);
  EXPECT_TRUE(category_ranges("Xx").empty());
  EXPECT_TRUE(category_ranges("").empty());
}

std::string regex_error(std::string_view pattern) {
  return message_of(ExitCode::kData, [&] { Regex{pattern}; });
}

TEST(Regex, MeansWhatOnigurumaMeans) {
  const auto pieces = [](std::string_view pattern, std::string_view text) {
    std::vector<std::string> found;
    for (const Regex::Match& one : Regex(pattern).find_all(text)) {
      found.emplace_back(text.substr(one.begin, one.end - one.begin));
    }
    return found;
  };
  EXPECT_THAT(pieces(R"(\s+)", "a \u180E\u00A0b"), ElementsAre(" ", "\u00A0"));
  EXPECT_THAT(pieces(R"([^\s]+)", "a \u180Eb"), ElementsAre("a", "\u180Eb"));
  EXPECT_THAT(pieces(R"([\S]+)", "a \u180Eb"), ElementsAre("a", "\u180Eb"));
  EXPECT_THAT(pieces(R"(\p{L}+)", "ab\U00031350\U000105C0 1"), ElementsAre("ab\U00031350\U000105C0"))
      << "letters of Unicode 15 and 16";
  EXPECT_THAT(pieces(R"(\P{L}+)", "ab\U00031350 1\U000105C0"), ElementsAre(" 1"));
  EXPECT_THAT(pieces(R"([\P{L}]+)", "ab\U00031350 1\U000105C0"), ElementsAre(" 1"));
  EXPECT_THAT(pieces(R"(\p{^N})", "1a"), ElementsAre("a"));
  EXPECT_THAT(pieces(R"(.)", "a\n\r"), ElementsAre("a", "\r"));
  EXPECT_THAT(pieces(R"((?i:'s))", "'s 'S 'ſ"), ElementsAre("'s", "'S", "'ſ"));
  EXPECT_THAT(pieces(R"(\x{4E00}|\u4E8C|\x41)", "一二A"), ElementsAre("一", "二", "A"));
  EXPECT_THAT(pieces("x*", "ax"), ElementsAre("", "x", ""));
  EXPECT_EQ(Regex::literal("a.b\\E[").find_all("a.b\\E[ axb\\E[").size(), 1u);
}

TEST(Regex, RefusesWhatItDoesNotKnow) {
  EXPECT_THAT(regex_error(R"(a\hb)"), HasSubstr("byte 1 of the pattern: \\h is not supported"));
  EXPECT_THAT(regex_error(R"(\w+)"), HasSubstr("\\w is not supported"));
  EXPECT_THAT(regex_error(R"((a)\1)"), HasSubstr("\\1 is not supported"));
  EXPECT_THAT(regex_error(R"(\p{Han})"), HasSubstr("\\p{Han} is not supported"));
  EXPECT_THAT(regex_error(R"(\p{L)"), HasSubstr("\\p needs"));
  EXPECT_THAT(regex_error("[[:alpha:]]"), HasSubstr("nested"));
  EXPECT_THAT(regex_error("[a&&b]"), HasSubstr("intersections"));
  EXPECT_THAT(regex_error("[]a]"), HasSubstr("begins with ]"));
  EXPECT_THAT(regex_error("[a"), HasSubstr("byte 0 of the pattern: the set has no end"));
  EXPECT_THAT(regex_error("^a"), HasSubstr("anchors"));
  EXPECT_THAT(regex_error("(?<name>a)"), HasSubstr("group"));
  EXPECT_THAT(regex_error("(?R)"), HasSubstr("group"));
  EXPECT_THAT(regex_error("a{,3}"), HasSubstr("{,n}"));
  EXPECT_THAT(regex_error("a{1,3}+"), HasSubstr("possessive"));
  EXPECT_THAT(regex_error("(a"), HasSubstr("not valid: missing closing parenthesis"));
  EXPECT_THAT(regex_error("a\xFF"), HasSubstr("not valid UTF-8"));
  EXPECT_THAT(regex_error("a\\"), HasSubstr("backslash at the end"));
  EXPECT_THAT(regex_error(std::string(5000, 'a')), HasSubstr("5000 bytes"));
}

TEST(Regex, GivesUpInsteadOfRunningForEver) {
  const Regex regex("(?:a+)+b");
  EXPECT_THAT(message_of(ExitCode::kData, [&] { regex.find_all(std::string(100, 'a') + "cb"); }),
              HasSubstr("gave up here"));
}

}  // namespace
}  // namespace tsugi
