#include "core/data/tokenizer/split_pattern.h"

#include <glog/logging.h>

#include <array>

#include "core/data/tokenizer/unicode_categories.h"

namespace tsugi {
namespace {

struct Known {
  SplitPattern pattern;
  std::string_view name;
  std::string_view regex;
};

constexpr std::array<Known, 4> kKnown = {{
    {SplitPattern::kGpt2, "gpt2", R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
    {SplitPattern::kLlama3, "llama3",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
     R"(\s+(?!\S)|\s+)"},
    {SplitPattern::kQwen2, "qwen2",
     R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|)"
     R"(\s+(?!\S)|\s+)"},
    {SplitPattern::kO200k, "o200k",
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|)"
     R"(\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
}};

const Known& known(SplitPattern pattern) { return kKnown[static_cast<size_t>(pattern)]; }

/// A character, its classes and where the next one starts.
struct Character {
  const char* next;
  uint8_t classes;
};

class Scanner {
 public:
  explicit Scanner(const char* end) : classes_(character_classes()), end_(end) {}

  [[gnu::always_inline]] Character at(const char* p) const {
    const auto lead = static_cast<uint8_t>(*p);
    if (lead < 0x80) return {p + 1, classes_[lead]};
    const auto bits = [p](int i) { return static_cast<char32_t>(static_cast<uint8_t>(p[i]) & 0x3F); };
    if (lead < 0xE0) return {p + 2, classes_[(lead & 0x1Fu) << 6 | bits(1)]};
    if (lead < 0xF0) return {p + 3, classes_[(lead & 0x0Fu) << 12 | bits(1) << 6 | bits(2)]};
    return {p + 4, classes_[(lead & 0x07u) << 18 | bits(1) << 12 | bits(2) << 6 | bits(3)]};
  }

  /// The end of the longest run of characters from p for which `wanted(classes)`.
  template <class Wanted>
  const char* run(const char* p, const Wanted& wanted) const {
    while (p < end_) {
      const Character c = at(p);
      if (!wanted(c.classes)) break;
      p = c.next;
    }
    return p;
  }
  const char* run_of(const char* p, uint8_t classes) const {
    return run(p, [classes](uint8_t c) { return (c & classes) != 0; });
  }
  static bool is_other(uint8_t c) { return (c & (kLetter | kNumber | kSpace)) == 0; }
  const char* run_of_others(const char* p) const { return run(p, is_other); }

  bool other_at(const char* p) const { return p < end_ && is_other(at(p).classes); }
  bool class_at(const char* p, uint8_t classes) const { return p < end_ && (at(p).classes & classes) != 0; }

  /// 's 't 're 've 'm 'll 'd; with `fold` in any case, where ſ (U+017F) is an s too. The same p: none.
  const char* contraction(const char* p, bool fold) const {
    if (p >= end_ || *p != '\'' || end_ - p < 2) return p;
    const auto letter = [&](const char* q) -> char {
      if (q >= end_) return '\0';
      return fold && *q >= 'A' && *q <= 'Z' ? static_cast<char>(*q + ('a' - 'A')) : *q;
    };
    const char second = letter(p + 2);
    switch (letter(p + 1)) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return p + 2;
      case 'r':
      case 'v':
        return second == 'e' ? p + 3 : p;
      case 'l':
        return second == 'l' ? p + 3 : p;
      case '\xC5':
        return fold && second == '\xBF' ? p + 3 : p;
      default:
        return p;
    }
  }

  const char* numbers(const char* p, int most) const {
    for (int i = 0; i < most && class_at(p, kNumber); ++i) p = at(p).next;
    return p;
  }

  /// `\s+(?!\S)|\s+`, with `lines` `\s*[\r\n]+` before them; there is white space at p.
  const char* spaces(const char* p, bool lines) const {
    const char* q = p;
    const char* last = p;  // start of the last character of the run
    const char* newline = nullptr;
    while (q < end_) {
      const Character c = at(q);
      if ((c.classes & kSpace) == 0) break;
      last = q;
      q = c.next;
      if ((c.classes & kNewline) != 0) newline = q;
    }
    if (lines && newline != nullptr) return newline;
    if (q == end_ || last == p) return q;
    return last;
  }

  const char* gpt2(const char* p) const {
    if (const char* q = contraction(p, false); q != p) return q;
    const char* q = *p == ' ' ? p + 1 : p;
    if (q < end_) {
      const uint8_t c = at(q).classes;
      if ((c & kLetter) != 0) return run_of(q, kLetter);
      if ((c & kNumber) != 0) return run_of(q, kNumber);
      if (is_other(c)) return run_of_others(q);
    }
    return spaces(p, false);
  }

  /// What follows the letters in the patterns since cl100k.
  const char* digits_others_spaces(const char* p, int digits, bool slash) const {
    if (class_at(p, kNumber)) return numbers(p, digits);
    const char* q = *p == ' ' ? p + 1 : p;
    if (other_at(q)) {
      q = run_of_others(q);
      while (q < end_ && (*q == '\r' || *q == '\n' || (slash && *q == '/'))) ++q;
      return q;
    }
    return spaces(p, true);
  }

  const char* llama3(const char* p, int digits) const {
    if (const char* q = contraction(p, true); q != p) return q;
    const Character first = at(p);
    if ((first.classes & kLetter) != 0) return run_of(first.next, kLetter);
    if ((first.classes & (kNewline | kNumber)) == 0 && class_at(first.next, kLetter)) {
      return run_of(first.next, kLetter);
    }
    return digits_others_spaces(p, digits, false);
  }

  /// `[upper]*[lower]+` from p, or nullptr. The classes overlap: when nothing lower follows the longest run of upper
  /// characters, it gives back until a character is both.
  const char* ends_lower(const char* p) const {
    const char* q = p;
    const char* both = nullptr;  // behind the last character of the run that is both
    while (q < end_) {
      const Character c = at(q);
      if ((c.classes & kUpperClass) == 0) break;
      q = c.next;
      if ((c.classes & kLowerClass) != 0) both = q;
    }
    if (class_at(q, kLowerClass)) return run_of(q, kLowerClass);
    return both;
  }
  /// `[upper]+[lower]*` from p, or nullptr.
  const char* starts_upper(const char* p) const {
    const char* q = run_of(p, kUpperClass);
    return q == p ? nullptr : run_of(q, kLowerClass);
  }

  const char* o200k(const char* p) const {
    const Character first = at(p);
    const bool prefix = (first.classes & (kNewline | kLetter | kNumber)) == 0;
    const char* q = prefix ? ends_lower(first.next) : nullptr;
    if (q == nullptr) q = ends_lower(p);
    if (q == nullptr && prefix) q = starts_upper(first.next);
    if (q == nullptr) q = starts_upper(p);
    if (q != nullptr) return contraction(q, true);
    return digits_others_spaces(p, 3, true);
  }

 private:
  const uint8_t* classes_;
  const char* end_;
};

bool is_continuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

}  // namespace

std::string_view pattern_regex(SplitPattern pattern) { return known(pattern).regex; }
std::string_view pattern_name(SplitPattern pattern) { return known(pattern).name; }

std::optional<SplitPattern> known_pattern(std::string_view regex) {
  for (const Known& one : kKnown) {
    if (one.regex == regex) return one.pattern;
  }
  return std::nullopt;
}

std::optional<SplitPattern> pattern_of_name(std::string_view name) {
  for (const Known& one : kKnown) {
    if (one.name == name) return one.pattern;
  }
  return std::nullopt;
}

const char* piece_end(SplitPattern pattern, const char* begin, const char* end) {
  const Scanner scanner(end);
  switch (pattern) {
    case SplitPattern::kGpt2:
      return scanner.gpt2(begin);
    case SplitPattern::kLlama3:
      return scanner.llama3(begin, 3);
    case SplitPattern::kQwen2:
      return scanner.llama3(begin, 1);
    case SplitPattern::kO200k:
      return scanner.o200k(begin);
  }
  LOG(FATAL) << "unknown pattern";
}

size_t safe_cut(std::string_view text, size_t limit) {
  const Scanner scanner(text.data() + text.size());
  for (size_t i = std::min(limit, text.size() < 2 ? 0 : text.size() - 2); i > 0; --i) {
    if (text[i] != ' ') continue;
    size_t before = i - 1;
    while (before > 0 && is_continuation(text[before])) --before;
    if (!scanner.class_at(text.data() + before, kSpace) && !scanner.class_at(text.data() + i + 1, kSpace)) return i;
  }
  return 0;
}

}  // namespace tsugi
