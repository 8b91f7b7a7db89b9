// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tsugi {

/// A code point and how many bytes it takes; 0 bytes: not valid.
struct CodePoint {
  char32_t value = 0;
  int bytes = 0;
};

/// What starts at text[offset], offset < text.size(), a byte of 0x80 or more.
CodePoint multibyte_code_point_at(std::string_view text, size_t offset);
/// What starts at text[offset], offset < text.size().
inline CodePoint code_point_at(std::string_view text, size_t offset) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  // Three bytes, and neither of the leads after which not every continuation may follow: most of the world's letters.
  if ((lead & 0xF0) == 0xE0 && lead != 0xE0 && lead != 0xED && text.size() - offset >= 3 && (byte(1) & 0xC0) == 0x80 &&
      (byte(2) & 0xC0) == 0x80) {
    return {(lead & 0x0Fu) << 12 | (byte(1) & 0x3Fu) << 6 | (byte(2) & 0x3Fu), 3};
  }
  return multibyte_code_point_at(text, offset);
}

/// How many bytes at the start of the text are valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

/// Appends the 1 to 4 bytes of a code point.
void append_utf8(char32_t code_point, std::string& text);

}  // namespace tsugi
