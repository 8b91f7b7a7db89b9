#include "core/data/tokenizer/metaspace.h"

#include "core/data/utf8.h"

namespace tsugi {

Metaspace::Metaspace(const JsonValue& element) {
  element.require_only({"type", "replacement", "prepend_scheme", "split", "add_prefix_space", "str_rep"});
  replacement = element.require_string("replacement");
  if (replacement.empty() || static_cast<size_t>(code_point_at(replacement, 0).bytes) != replacement.size()) {
    throw element.require("replacement").error("is not a character");
  }
  if (element.string_or("str_rep", replacement) != replacement) {
    throw element.require("str_rep").error("is not the replacement");
  }
  split = element.bool_or("split", true);
  const bool always = element.bool_or("add_prefix_space", true);
  const std::string scheme = element.string_or("prepend_scheme", always ? "always" : "never");
  if (scheme == "never") {
    prepend = Prepend::kNever;
  } else if (scheme == "first") {
    prepend = Prepend::kFirst;
  } else if (scheme != "always") {
    throw element.require("prepend_scheme").error("must be always, first or never");
  }
  if (!always && prepend != Prepend::kNever) {
    throw element.require("prepend_scheme").error("is not what add_prefix_space says");
  }
}

std::string Metaspace::encoded(std::string_view text, bool start) const {
  std::string result;
  const bool wanted = prepend == Prepend::kAlways || (prepend == Prepend::kFirst && start);
  if (wanted && text[0] != ' ' && !text.starts_with(replacement)) result = replacement;
  for (const char c : text) {
    if (c == ' ') {
      result += replacement;
    } else {
      result += c;
    }
  }
  return result;
}

std::string Metaspace::decoded(std::string_view token, bool first) const {
  std::string result;
  for (size_t at = 0; at < token.size();) {
    if (token.substr(at).starts_with(replacement)) {
      if (!first || prepend == Prepend::kNever) result += ' ';
      at += replacement.size();
    } else {
      result += token[at++];
    }
  }
  return result;
}

}  // namespace tsugi
