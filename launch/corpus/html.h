// A forgiving reader of HTML and XHTML: the file as a flat list of tags and text. It never fails: markup that is cut
// off or badly nested becomes the tokens that can still be told.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tsugi {

struct HtmlToken {
  enum class Kind { kText, kOpen, kClose };
  Kind kind = Kind::kText;
  /// Tags: the name in lower case.
  std::string name;
  /// Text, with entities decoded and white space as it stands in the file.
  std::string text;
  /// Opening tags: names in lower case, values decoded.
  std::vector<std::pair<std::string, std::string>> attributes;

  /// The value of an attribute; empty when absent.
  std::string_view attribute(std::string_view attribute_name) const;
  /// Whether the class attribute holds the word `value`.
  bool has_class(std::string_view value) const;
};

/// Comments, doctypes, processing instructions and the contents of script and style are dropped. A void element (<br>)
/// and a self-closing one (<a/>) give an opening and a closing token.
std::vector<HtmlToken> read_html(std::string_view html);

/// Replaces numeric references and the named ones of HTML 4 ("&eacute;"). What is not one of them stays as it is;
/// references to no character (surrogates, beyond U+10FFFF, 0) become U+FFFD.
std::string decode_entities(std::string_view text);

}  // namespace tsugi
