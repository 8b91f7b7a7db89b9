#include "core/data/tokenizer/added_tokens.h"

#include <algorithm>

#include "core/data/tokenizer/unicode_categories.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

/// The start of the character that ends at `end` > 0.
size_t character_before(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

bool is_space(std::string_view text, size_t at) {
  return (character_classes()[code_point_at(text, at).value] & kSpace) != 0;
}

/// `\w` of Rust's regex library but for what is alphabetic without being a letter, mark or letter number (the circled
/// letters U+24B6…) and the two joiners, which are written out.
bool is_word(std::string_view text, size_t at) {
  static const std::vector<bool> kTable = [] {
    std::vector<bool> table(0x110000);
    const auto add = [&table](const CodePointRanges& ranges) {
      for (const auto& [first, last] : ranges) {
        std::fill(table.begin() + first, table.begin() + last + 1, true);
      }
    };
    for (const char* name : {"L", "M", "Nd", "Nl", "Pc"}) add(category_ranges(name));
    add({{0x200C, 0x200D}, {0x24B6, 0x24E9}, {0x1F130, 0x1F149}, {0x1F150, 0x1F169}, {0x1F170, 0x1F189}});
    return table;
  }();
  return kTable[code_point_at(text, at).value];
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::ranges::sort(tokens_, {}, &AddedToken::content);
  for (const AddedToken& token : tokens_) first_[static_cast<uint8_t>(token.content[0])] = true;
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  // The tokens that share the first n bytes with the text are a range that shrinks with n.
  auto low = tokens_.begin();
  auto high = tokens_.end();
  const AddedToken* longest = nullptr;
  for (size_t n = 0; at + n < text.size() && low != high; ++n) {
    const auto byte_less = [n](const AddedToken& token, uint8_t byte) {
      return token.content.size() <= n || static_cast<uint8_t>(token.content[n]) < byte;
    };
    const auto less_byte = [n](uint8_t byte, const AddedToken& token) {
      return token.content.size() > n && byte < static_cast<uint8_t>(token.content[n]);
    };
    const auto byte = static_cast<uint8_t>(text[at + n]);
    low = std::lower_bound(low, high, byte, byte_less);
    high = std::upper_bound(low, high, byte, less_byte);
    if (low != high && low->content.size() == n + 1) longest = &*low;
  }
  return longest;
}

void AddedTokenFinder::find(std::string_view text, bool skip_special,
                            const std::function<void(std::string_view)>& on_text,
                            const std::function<void(int32_t)>& on_token) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    if (!first_[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const AddedToken* const token = longest_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->content.size();
    at = end;  // also past a match that is not taken
    if (skip_special && token->special) continue;
    if (token->single_word) {
      if (begin > 0 && is_word(text, character_before(text, begin))) continue;
      if (end < text.size() && is_word(text, end)) continue;
    }
    if (token->lstrip) {
      while (begin > done && is_space(text, character_before(text, begin))) begin = character_before(text, begin);
    }
    if (token->rstrip) {
      while (end < text.size() && is_space(text, end)) {
        end += static_cast<size_t>(code_point_at(text, end).bytes);
      }
    }
    if (begin > done) on_text(text.substr(done, begin - done));
    on_token(token->id);
    done = end;
  }
  if (done != text.size()) on_text(text.substr(done));
}

}  // namespace tsugi
