#define PCRE2_CODE_UNIT_WIDTH 8
#include <glog/logging.h>
#include <pcre2.h>

#include <map>
#include <mutex>

#include "core/data/tokenizer/regex.h"
#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr char32_t kLast = 0x10FFFF;

/// The code points that are in none of the ranges; without surrogates, which no text has.
CodePointRanges complement(const CodePointRanges& ranges) {
  CodePointRanges result;
  char32_t next = 0;
  const auto add = [&result](char32_t first, char32_t last) {
    if (first > last) return;
    if (first < 0xD800 && last > 0xDFFF) {
      result.emplace_back(first, 0xD7FF);
      result.emplace_back(0xE000, last);
    } else {
      if (first >= 0xD800 && first <= 0xDFFF) first = 0xE000;
      if (last >= 0xD800 && last <= 0xDFFF) last = 0xD7FF;
      if (first <= last) result.emplace_back(first, last);
    }
  };
  for (const auto& [first, last] : ranges) {
    if (first > 0) add(next, first - 1);
    next = last + 1;
  }
  add(next, kLast);
  return result;
}

/// As members of a bracketed set.
std::string members(const CodePointRanges& ranges) {
  constexpr const char* kDigits = "0123456789ABCDEF";
  std::string text;
  const auto add = [&text](char32_t c) {
    text += "\\x{";
    for (int shift = 20; shift >= 0; shift -= 4) text += kDigits[c >> shift & 0xF];
    text += '}';
  };
  for (const auto& [first, last] : ranges) {
    add(first);
    if (last > first) {
      text += '-';
      add(last);
    }
  }
  return text;
}

/// What the installed PCRE2 takes for a category. The first call for a name takes some milliseconds.
const CodePointRanges& library_ranges(const std::string& name) {
  static std::mutex mutex;
  static std::map<std::string, CodePointRanges> known;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [place, fresh] = known.try_emplace(name);
  if (!fresh) return place->second;
  std::string all;
  for (char32_t c = 0; c <= kLast; ++c) {
    if (c < 0xD800 || c > 0xDFFF) append_utf8(c, all);
  }
  const std::string pattern = "\\p{" + name + "}+";
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), PCRE2_UTF | PCRE2_UCP,
                                   &error, &offset, nullptr);
  CHECK(code != nullptr) << pattern << ": " << error;
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
  pcre2_match_data* data = pcre2_match_data_create_from_pattern(code, nullptr);
  for (size_t at = 0; pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(all.data()), all.size(), at, PCRE2_NO_UTF_CHECK,
                                  data, nullptr) > 0;) {
    const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data);
    size_t last = range[1] - 1;
    while ((static_cast<uint8_t>(all[last]) & 0xC0) == 0x80) --last;
    place->second.emplace_back(code_point_at(all, range[0]).value, code_point_at(all, last).value);
    at = range[1];
  }
  pcre2_match_data_free(data);
  pcre2_code_free(code);
  return place->second;
}

/// The code points of `a` that are not in `b`.
CodePointRanges difference(const CodePointRanges& a, const CodePointRanges& b) {
  CodePointRanges result;
  size_t j = 0;
  for (auto [first, last] : a) {
    while (j < b.size() && b[j].second < first) ++j;
    for (size_t k = j; k < b.size() && b[k].first <= last && first <= last; ++k) {
      if (b[k].first > first) result.emplace_back(first, b[k].first - 1);
      first = b[k].second + 1;
    }
    if (first <= last) result.emplace_back(first, last);
  }
  return result;
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : pattern_(pattern) {}

  std::string run() {
    while (at_ < pattern_.size()) {
      const char c = pattern_[at_];
      if (c == '\\') {
        escape(false);
      } else if (c == '[') {
        bracket();
      } else if (c == '(') {
        group();
      } else if (c == '^' || c == '$') {
        fail("anchors mean lines in one engine and texts in another: not supported");
      } else if (next_is("{,")) {
        fail("{,n} is a quantifier in one engine only: not supported");
      } else if (next_is("}+")) {
        fail("{m,n}+ is possessive in one engine only: not supported");
      } else {
        copy_character();
      }
    }
    return result_;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw Error(ExitCode::kData, "byte " + std::to_string(at_) + " of the pattern: " + reason);
  }

  bool next_is(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }

  void copy(size_t bytes) {
    result_ += pattern_.substr(at_, bytes);
    at_ += bytes;
  }

  void copy_character() {
    const CodePoint point = code_point_at(pattern_, at_);
    if (point.bytes == 0) fail("not valid UTF-8");
    copy(static_cast<size_t>(point.bytes));
  }

  void group() {
    if (!next_is("(?")) return copy(1);
    for (const std::string_view known : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"}) {
      if (next_is(known)) return copy(known.size());
    }
    fail("this kind of group is not supported");
  }

  void bracket() {
    const size_t begin = at_;
    copy(1);
    if (next_is("^")) copy(1);
    if (next_is("]")) fail("a set that begins with ] is not supported");
    while (at_ < pattern_.size() && pattern_[at_] != ']') {
      if (pattern_[at_] == '[') fail("nested and POSIX sets are not supported");
      if (next_is("&&")) fail("intersections of sets are not supported");
      if (pattern_[at_] == '\\') {
        escape(true);
      } else {
        copy_character();
      }
    }
    if (at_ == pattern_.size()) {
      at_ = begin;
      fail("the set has no end");
    }
    copy(1);
  }

  void escape(bool in_set) {
    if (at_ + 1 == pattern_.size()) fail("a backslash at the end");
    const char c = pattern_[at_ + 1];
    switch (c) {
      case 's':
      case 'S':
        at_ += 2;
        return add_class(members(space_ranges()), space_ranges(), c == 'S', in_set);
      case 'd':
      case 'D':
        at_ += 2;
        return add_category("Nd", c == 'D', in_set);
      case 'p':
      case 'P':
        return property(in_set);
      case 'x':
      case 'u':
        return code_point();
      case 'r':
      case 'n':
      case 't':
      case 'f':
        return copy(2);
      case 'v':  // Oniguruma: U+000B; PCRE2: any vertical space
        at_ += 2;
        result_ += "\\x{0B}";
        return;
      default:
        break;
    }
    const bool letter_or_digit = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
    if (letter_or_digit) fail(std::string("\\") + c + " is not supported");
    if ((c & 0x80) == 0) return copy(2);
    ++at_;  // a backslash before any other character means the character
    copy_character();
  }

  void property(bool in_set) {
    bool negated = pattern_[at_ + 1] == 'P';
    const size_t close = pattern_.find('}', at_);
    if (at_ + 2 >= pattern_.size() || pattern_[at_ + 2] != '{' || close == std::string_view::npos) {
      fail("\\p needs {…}");
    }
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.remove_prefix(1);
    }
    // "Cn" and "C" hold surrogates and what later versions assign; nobody splits by them.
    if (category_ranges(name).empty() || name == "C" || name == "Cn" || name == "Cs") {
      fail("\\p{" + std::string(name.substr(0, 40)) + "} is not supported; general categories are");
    }
    at_ = close + 1;
    add_category(name, negated, in_set);
  }

  void add_category(std::string_view name, bool negated, bool in_set) {
    const CodePointRanges ours = category_ranges(name);
    const CodePointRanges& theirs = library_ranges(std::string(name));
    // PCRE2 looks a property up and compares ranges one after the other.
    const bool more = !difference(theirs, ours).empty();
    const std::string all = more ? members(ours) : "\\p{" + std::string(name) + "}" + members(difference(ours, theirs));
    add_class(all, ours, negated, in_set);
  }

  /// `all`: the class as members of a set, which are the code points of `ranges`.
  void add_class(const std::string& all, const CodePointRanges& ranges, bool negated, bool in_set) {
    if (in_set) {
      result_ += negated ? members(complement(ranges)) : all;
    } else {
      result_ += (negated ? "[^" : "[") + all + ']';
    }
  }

  /// \xHH \x{H…} \uHHHH
  void code_point() {
    const bool braces = at_ + 2 < pattern_.size() && pattern_[at_ + 1] == 'x' && pattern_[at_ + 2] == '{';
    const size_t most = braces ? 6 : pattern_[at_ + 1] == 'x' ? 2 : 4;
    size_t digits = at_ + (braces ? 3 : 2);
    char32_t value = 0;
    size_t count = 0;
    for (; count < most && digits < pattern_.size(); ++count, ++digits) {
      const char c = pattern_[digits];
      const int digit = c >= '0' && c <= '9'                     ? c - '0'
                        : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10
                                                                 : -1;
      if (digit < 0) break;
      value = value << 4 | static_cast<char32_t>(digit);
    }
    const bool closed = !braces || (digits < pattern_.size() && pattern_[digits] == '}');
    const bool complete = braces ? count > 0 : count == most;
    if (!closed || !complete || value > kLast || (value >= 0xD800 && value <= 0xDFFF)) fail("not a code point");
    // In Oniguruma \x80 to \xFF are bytes of UTF-8, not code points.
    if (!braces && most == 2 && value > 0x7F) fail("\\x above 7F is not supported without braces");
    at_ = digits + (braces ? 1 : 0);
    result_ += members({{value, value}});
  }

  std::string_view pattern_;
  size_t at_ = 0;
  std::string result_;
};

}  // namespace

std::string translate_regex(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace tsugi
