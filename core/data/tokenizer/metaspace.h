// "▁" instead of a space, as SentencePiece has it: the element Metaspace of tokenizer.json, which is both a
// pre-tokenizer and a decoder.
#pragma once

#include <string>
#include <string_view>

#include "core/data/json.h"

namespace tsugi {

struct Metaspace {
  enum class Prepend { kNever, kFirst, kAlways };

  std::string replacement;             ///< one character
  Prepend prepend = Prepend::kAlways;  ///< where it is put before what does not begin with it
  bool split = true;                   ///< pieces begin with it

  /// With "prepend_scheme", or "add_prefix_space" and "str_rep" as older files have it. Anything else is an
  /// Error(kData).
  explicit Metaspace(const JsonValue& element);

  /// What is encoded of `text`, not empty. `start`: nothing stands before it.
  std::string encoded(std::string_view text, bool start) const;
  /// The text of a token. `first`: of the first one, in which every replacement is dropped if any is ever put before a
  /// text, as Hugging Face's decoder does.
  std::string decoded(std::string_view token, bool first) const;
};

}  // namespace tsugi
