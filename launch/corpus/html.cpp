#include "launch/corpus/html.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "core/data/utf8.h"
#include "launch/corpus/html_entities.h"

namespace tsugi {
namespace {

constexpr std::string_view kBlank = " \t\r\n\f";
constexpr char32_t kReplacement = 0xFFFD;

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool is_void(std::string_view name) {
  static constexpr std::array kVoid = {"area",  "base", "br",   "col",   "embed",  "hr",    "img",
                                       "input", "link", "meta", "param", "source", "track", "wbr"};
  return std::ranges::find(kVoid, name) != kVoid.end();
}

/// "#233", "#xE9" or "eacute", without & and semicolon.
std::optional<char32_t> lookup_entity(std::string_view body) {
  if (body.starts_with('#')) {
    body.remove_prefix(1);
    const bool hexadecimal = body.starts_with('x') || body.starts_with('X');
    if (hexadecimal) body.remove_prefix(1);
    if (body.empty()) return std::nullopt;
    uint32_t value = 0;
    for (const char c : body) {
      uint32_t digit = 0;
      if (c >= '0' && c <= '9') {
        digit = static_cast<uint32_t>(c - '0');
      } else if (hexadecimal && is_letter(c) && (c | 0x20) <= 'f') {
        digit = static_cast<uint32_t>((c | 0x20) - 'a' + 10);
      } else {
        return std::nullopt;
      }
      value = std::min<uint32_t>(value * (hexadecimal ? 16 : 10) + digit, 0x110000);
    }
    const bool none = value == 0 || value > 0x10FFFF || (value >= 0xD800 && value <= 0xDFFF);
    return none ? kReplacement : static_cast<char32_t>(value);
  }
  const auto* found =
      std::ranges::lower_bound(kHtmlEntities, body, {}, [](const auto& entity) { return entity.first; });
  if (found == kHtmlEntities.end() || found->first != body) return std::nullopt;
  return found->second;
}

class Scanner {
 public:
  explicit Scanner(std::string_view html) : html_(html) {}

  std::vector<HtmlToken> scan() {
    while (at_ < html_.size()) {
      if (html_[at_] != '<' || !markup()) text();
    }
    return std::move(tokens_);
  }

 private:
  /// Everything up to the next '<'; a '<' that begins no markup is text.
  void text() {
    const size_t end = std::min(html_.find('<', at_ + 1), html_.size());
    std::string decoded = decode_entities(html_.substr(at_, end - at_));
    if (!tokens_.empty() && tokens_.back().kind == HtmlToken::Kind::kText) {
      tokens_.back().text += decoded;
    } else {
      tokens_.push_back({HtmlToken::Kind::kText, {}, std::move(decoded), {}});
    }
    at_ = end;
  }

  bool markup() {
    const std::string_view rest = html_.substr(at_);
    if (rest.starts_with("<!--")) {
      skip_past("-->", at_ + 4);
    } else if (rest.starts_with("<![CDATA[")) {
      const size_t begin = at_ + 9;
      const size_t end = std::min(html_.find("]]>", begin), html_.size());
      tokens_.push_back({HtmlToken::Kind::kText, {}, std::string(html_.substr(begin, end - begin)), {}});
      at_ = std::min(end + 3, html_.size());
    } else if (rest.starts_with("<!") || rest.starts_with("<?")) {
      skip_past(">", at_ + 2);
    } else if (rest.size() > 2 && rest[1] == '/' && is_letter(rest[2])) {
      at_ += 2;
      std::string tag = name();
      skip_past(">", at_);
      tokens_.push_back({HtmlToken::Kind::kClose, std::move(tag), {}, {}});
    } else if (rest.size() > 1 && is_letter(rest[1])) {
      at_ += 1;
      opening_tag();
    } else {
      return false;
    }
    return true;
  }

  void opening_tag() {
    HtmlToken token{HtmlToken::Kind::kOpen, name(), {}, {}};
    const std::string tag = token.name;
    const bool closed = attributes(token);
    tokens_.push_back(std::move(token));
    if (closed || is_void(tag)) {
      tokens_.push_back({HtmlToken::Kind::kClose, tag, {}, {}});
    } else if (tag == "script" || tag == "style") {
      skip_raw_text(tag);
    }
  }

  /// Reads up to and past '>'; true for "/>". An attribute without a value has an empty one.
  bool attributes(HtmlToken& token) {
    bool slash = false;
    while (at_ < html_.size()) {
      const char c = html_[at_];
      if (c == '>') {
        ++at_;
        return slash;
      }
      if (c == '/' || kBlank.find(c) != kBlank.npos) {
        slash = c == '/';
        ++at_;
        continue;
      }
      slash = false;
      // A stray '=' begins a name, as in the HTML standard, so that every turn of the loop advances.
      const size_t end = std::min(html_.find_first_of("=/> \t\r\n\f", at_ + 1), html_.size());
      std::string key = lower(html_.substr(at_, end - at_));
      at_ = end;
      token.attributes.emplace_back(std::move(key), value());
    }
    return false;
  }

  std::string value() {
    const size_t equals = html_.find_first_not_of(kBlank, at_);
    if (equals == html_.npos || html_[equals] != '=') return {};
    at_ = std::min(html_.find_first_not_of(kBlank, equals + 1), html_.size());
    if (at_ == html_.size()) return {};
    const char quote = html_[at_];
    const bool quoted = quote == '"' || quote == '\'';
    const size_t begin = quoted ? at_ + 1 : at_;
    const size_t end =
        std::min(quoted ? html_.find(quote, begin) : html_.find_first_of("> \t\r\n\f", begin), html_.size());
    at_ = std::min(quoted ? end + 1 : end, html_.size());
    return decode_entities(html_.substr(begin, end - begin));
  }

  std::string name() {
    const size_t end = std::min(html_.find_first_of("/> \t\r\n\f", at_), html_.size());
    std::string found = lower(html_.substr(at_, end - at_));
    at_ = end;
    return found;
  }

  void skip_past(std::string_view mark, size_t from) {
    const size_t found = html_.find(mark, from);
    at_ = found == html_.npos ? html_.size() : found + mark.size();
  }

  /// Up to "</tag", which is left to be read as a closing tag.
  void skip_raw_text(std::string_view tag) {
    while (at_ < html_.size()) {
      at_ = std::min(html_.find("</", at_), html_.size());
      if (lower(html_.substr(std::min(at_ + 2, html_.size()), tag.size())) == tag) return;
      at_ = std::min(at_ + 2, html_.size());
    }
  }

  std::string_view html_;
  size_t at_ = 0;
  std::vector<HtmlToken> tokens_;
};

}  // namespace

std::string_view HtmlToken::attribute(std::string_view attribute_name) const {
  for (const auto& [key, value] : attributes) {
    if (key == attribute_name) return value;
  }
  return {};
}

bool HtmlToken::has_class(std::string_view value) const {
  std::string_view rest = attribute("class");
  while (!rest.empty()) {
    const size_t end = std::min(rest.find_first_of(kBlank), rest.size());
    if (rest.substr(0, end) == value) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

std::vector<HtmlToken> read_html(std::string_view html) { return Scanner(html).scan(); }

std::string decode_entities(std::string_view text) {
  // No name is longer than 8 ("thetasym"), no sensible number longer than 10 digits.
  constexpr size_t kLongest = 12;
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  while (at < text.size()) {
    const size_t mark = std::min(text.find('&', at), text.size());
    out += text.substr(at, mark - at);
    if (mark == text.size()) break;
    at = mark + 1;
    const size_t length = text.substr(at, kLongest + 1).find(';');
    const auto code_point = length == text.npos ? std::nullopt : lookup_entity(text.substr(at, length));
    if (code_point) {
      append_utf8(*code_point, out);
      at += length + 1;
    } else {
      out += '&';
    }
  }
  return out;
}

}  // namespace tsugi
