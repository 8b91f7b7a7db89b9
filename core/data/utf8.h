// UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 15, table 3-7).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tsugi {

/// The code point that starts at text[offset], offset < text.size(), and how many bytes it takes; 0 bytes: not valid.
struct CodePoint {
  char32_t value = 0;
  int bytes = 0;
};
CodePoint code_point_at(std::string_view text, size_t offset);

/// Appends the 1 to 4 bytes of a code point.
void append_utf8(char32_t code_point, std::string& text);

}  // namespace tsugi
