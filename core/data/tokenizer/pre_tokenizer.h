// Cuts text into the pieces that are encoded on their own: the "pre_tokenizer" of tokenizer.json.
#pragma once

#include <list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/data/json.h"
#include "core/data/tokenizer/metaspace.h"
#include "core/data/tokenizer/regex.h"
#include "core/data/tokenizer/split_pattern.h"

namespace tsugi {

class PreTokenizer {
 public:
  /// Split, Digits, BertPreTokenizer, WhitespaceSplit and Sequence of them; `byte_level`: with one ByteLevel and it
  /// last; else also Metaspace, and null is none. Anything else is an Error(kData) that names it.
  PreTokenizer(const JsonValue& element, bool byte_level);

  /// The pattern, when splitting by it is all that is done.
  std::optional<SplitPattern> only_pattern() const;

  /// The pieces of `text`, valid UTF-8, in order; none is empty. `start`: the text begins there. They point into `text`
  /// or into `store`, which holds text that was changed. Matches of Split with behaviour Removed are in no piece.
  std::vector<std::string_view> split(std::string_view text, bool start, std::list<std::string>& store) const;

 private:
  enum class Behaviour { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  struct Part {
    size_t begin;
    size_t end;
    bool match;
  };
  struct Step {
    std::optional<SplitPattern> pattern;  ///< isolated matches of a known pattern
    std::optional<Regex> regex;
    bool (*matches)(char32_t) = nullptr;  ///< single characters of this kind
    bool prefix_space = false;            ///< a space before what does not begin with one
    std::optional<Metaspace> metaspace;   ///< instead of spaces
    bool invert = false;
    Behaviour behaviour = Behaviour::kIsolated;
  };
  void read(const JsonValue& element);
  void read_split(const JsonValue& element);
  void read_metaspace(const JsonValue& element);
  static std::vector<Part> parts(const Step& step, std::string_view text);
  static std::vector<Part> combine(const Step& step, std::vector<Part> parts);

  std::vector<Step> steps_;
  bool wants_byte_level_;
  bool byte_level_ = false;
};

}  // namespace tsugi
