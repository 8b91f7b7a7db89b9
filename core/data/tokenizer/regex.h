// Regular expressions of tokenizer.json: PCRE2 (JIT) made to agree with Oniguruma, the engine of Hugging Face.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tsugi {

/// The expression for PCRE2. What differs between the engines is spelt out as ranges of code points: `\s` (PCRE2 counts
/// U+180E), and `\p{…}` where the installed PCRE2 has another Unicode version than unicode_categories.h. Syntax that is
/// not known to mean the same in both is refused. Understood: literals, `.`, `|`, groups `( (?: (?i: (?= (?! (?<=
/// (?<!`, quantifiers, bracketed sets without nesting, `\r \n \t \f \v \0`, `\s \S \d \D`, `\p{L} \P{Lu} \p{^N}` with
/// general categories, `\x{H…} \uHHHH` and `\xHH` below 80. Throws Error(kData) "byte N of the pattern: reason".
std::string translate_regex(std::string_view pattern);

/// Matching never costs more than a fixed number of steps and amount of memory per match; beyond that, Error(kData).
class Regex {
 public:
  /// Throws Error(kData) with what is wrong with the pattern, which is translated first.
  explicit Regex(std::string_view pattern);
  /// Matches exactly this text.
  static Regex literal(std::string_view text);
  ~Regex();
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;

  struct Match {
    size_t begin = 0;
    size_t end = 0;
  };
  /// All matches, left to right, in valid UTF-8; an empty match advances by a character. Thread-safe.
  std::vector<Match> find_all(std::string_view text) const;

 private:
  struct Compiled;
  Regex();
  void compile(const std::string& pattern);
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace tsugi
