// What is done to the text before it is split: the "normalizer" of tokenizer.json.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/json.h"
#include "core/data/tokenizer/bert_text.h"
#include "core/data/tokenizer/character_map.h"
#include "core/data/tokenizer/regex.h"

namespace tsugi {

class Normalizer {
 public:
  /// NFC, Replace {pattern: {String|Regex}, content}, Prepend {prepend}, BertNormalizer, Precompiled, Strip of white
  /// space, and Sequence of them; null is none. Anything else is an Error(kData) that names it.
  explicit Normalizer(const JsonValue& element);

  bool empty() const { return steps_.empty(); }
  /// `text` is valid UTF-8. Throws Error(kData) when replacements make it longer than 64 times its length and 1 MiB,
  /// and where a Precompiled map is damaged.
  std::string apply(std::string_view text) const;

 private:
  struct Step {
    enum class Kind { kNfc, kReplace, kPrepend, kBert, kMap, kStrip };
    Kind kind = Kind::kNfc;
    std::optional<Regex> pattern;
    std::string content;
    BertNormalizer bert;
    std::optional<CharacterMap> map;
    bool strip_left = false;
    bool strip_right = false;
  };
  void read(const JsonValue& element);

  std::vector<Step> steps_;
};

/// The "pattern" of Replace and Split: {"String": text} or {"Regex": expression}.
Regex read_pattern(const JsonValue& pattern);

/// Canonical composition (Unicode NFC) of valid UTF-8, by utf8proc, with what Unicode assigned after version 9 left as
/// it is: Hugging Face's NFC knows no more, and ids must not depend on the version of a library.
std::string nfc(std::string_view text);
/// The same without composition (NFD).
std::string nfd(std::string_view text);

}  // namespace tsugi
