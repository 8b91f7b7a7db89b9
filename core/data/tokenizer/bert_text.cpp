#include "core/data/tokenizer/bert_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/data/tokenizer/normalizer.h"
#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

/// What Hugging Face's BertNormalizer and BertPreTokenizer ask of a character.
enum BertClass : uint8_t {
  kBertDropped = 1,
  kBertPunctuation = 2,
  kBertMark = 4,
};

struct BertRange {
  char32_t first;
  char32_t last;
  uint8_t classes;
};
/// Where their tables, which are those of an older Unicode, say something else than ours: their classes.
constexpr BertRange kBertDifferences[] = {
#include "core/data/tokenizer/bert_differences.inc"
};

/// Small letters that utf8proc may not know yet.
constexpr std::pair<char32_t, char32_t> kLaterLowercase[] = {
#include "core/data/tokenizer/later_lowercase.inc"
};

/// By code point.
const uint8_t* bert_classes() {
  static const std::vector<uint8_t> kTable = [] {
    std::vector<uint8_t> table(0x110000);
    const auto add = [&table](const CodePointRanges& ranges, uint8_t classes) {
      for (const auto& [first, last] : ranges) {
        for (char32_t c = first; c <= last; ++c) table[c] = classes;
      }
    };
    for (const char* name : {"Cc", "Cf", "Co"}) add(category_ranges(name), kBertDropped);
    add(category_ranges("P"), kBertPunctuation);
    add(category_ranges("Mn"), kBertMark);
    for (const BertRange& range : kBertDifferences) add({{range.first, range.last}}, range.classes);
    // ASCII's symbols count as punctuation, its white space is none of what is dropped, U+FFFD is.
    for (const auto& [first, last] :
         {std::pair('!', '/'), std::pair(':', '@'), std::pair('[', '`'), std::pair('{', '~')}) {
      add({{static_cast<char32_t>(first), static_cast<char32_t>(last)}}, kBertPunctuation);
    }
    for (const char32_t c : {U'\t', U'\n', U'\r'}) table[c] = 0;
    table[0xFFFD] = kBertDropped;
    return table;
  }();
  return kTable.data();
}

bool is_ideograph(char32_t c) {
  constexpr std::array<std::pair<char32_t, char32_t>, 8> kRanges = {{{0x3400, 0x4DBF},
                                                                     {0x4E00, 0x9FFF},
                                                                     {0xF900, 0xFAFF},
                                                                     {0x20000, 0x2A6DF},
                                                                     {0x2A700, 0x2B73F},
                                                                     {0x2B740, 0x2B81F},
                                                                     {0x2B920, 0x2CEAF},
                                                                     {0x2F800, 0x2FA1F}}};
  return std::ranges::any_of(kRanges, [c](const auto& range) { return range.first <= c && c <= range.second; });
}

/// Calls visit(code point, its bytes) for each character.
template <class Visit>
void for_each_character(std::string_view text, const Visit& visit) {
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = code_point_at(text, at);
    visit(point.value, text.substr(at, static_cast<size_t>(point.bytes)));
    at += static_cast<size_t>(point.bytes);
  }
}

void append_lowercase(char32_t c, std::string_view bytes, std::string& result) {
  if (c < 0x80) {
    result += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : static_cast<char>(c);
    return;
  }
  if (c == 0x130) {  // the only one that becomes two characters
    result += "i\xCC\x87";
    return;
  }
  const auto* const later = std::ranges::lower_bound(kLaterLowercase, c, {}, &std::pair<char32_t, char32_t>::first);
  if (later != std::end(kLaterLowercase) && later->first == c) return append_utf8(later->second, result);
  const auto small = static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  if (small == c) {
    result += bytes;
  } else {
    append_utf8(small, result);
  }
}

bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return static_cast<uint8_t>(c) < 0x80; });
}

}  // namespace

bool is_bert_space(char32_t c) { return (character_classes()[c] & kSpace) != 0; }
bool is_bert_punctuation(char32_t c) { return (bert_classes()[c] & kBertPunctuation) != 0; }

std::string BertNormalizer::apply(std::string_view text) const {
  const uint8_t* const classes = bert_classes();
  std::string result;
  result.reserve(text.size() + text.size() / 8);
  for_each_character(text, [&](char32_t c, std::string_view bytes) {
    if (clean_text && (classes[c] & kBertDropped) != 0) return;
    if (clean_text && is_bert_space(c)) {
      result += ' ';
    } else if (handle_chinese_chars && is_ideograph(c)) {
      result.append(" ").append(bytes).append(" ");
    } else {
      result += bytes;
    }
  });
  if (strip_accents.value_or(lowercase) && !is_ascii(result)) {
    const std::string decomposed = nfd(result);
    result.clear();
    for_each_character(decomposed, [&](char32_t c, std::string_view bytes) {
      if ((classes[c] & kBertMark) == 0) result += bytes;
    });
  }
  if (!lowercase) return result;
  std::string small;
  small.reserve(result.size());
  for_each_character(result, [&](char32_t c, std::string_view bytes) { append_lowercase(c, bytes, small); });
  return small;
}

}  // namespace tsugi
