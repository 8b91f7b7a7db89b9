#include "core/data/utf8.h"

#include <cstdint>
#include <cstring>

namespace tsugi {

CodePoint multibyte_code_point_at(std::string_view text, size_t offset) {
  const auto lead = static_cast<uint8_t>(text[offset]);
  // The second byte's range depends on the lead: that excludes overlong forms, surrogates and what is above U+10FFFF.
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  int bytes = 0;
  char32_t value = 0;
  if (lead >= 0xC2 && lead <= 0xDF) {
    bytes = 2;
    value = lead & 0x1Fu;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    bytes = 3;
    value = lead & 0x0Fu;
    if (lead == 0xE0) low = 0xA0;
    if (lead == 0xED) high = 0x9F;
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    bytes = 4;
    value = lead & 0x07u;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;
  } else {
    return {};
  }
  if (text.size() - offset < static_cast<size_t>(bytes)) return {};
  for (int i = 1; i < bytes; ++i) {
    const auto next = static_cast<uint8_t>(text[offset + static_cast<size_t>(i)]);
    if (next < low || next > high) return {};
    low = 0x80;
    high = 0xBF;
    value = (value << 6) | (next & 0x3Fu);
  }
  return {value, bytes};
}

size_t valid_utf8_prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    uint64_t eight = 0;
    if (text.size() - at >= sizeof(eight)) {
      std::memcpy(&eight, text.data() + at, sizeof(eight));
      if ((eight & 0x8080808080808080u) == 0) {
        at += sizeof(eight);
        continue;
      }
    }
    const CodePoint point = code_point_at(text, at);
    if (point.bytes == 0) break;
    at += static_cast<size_t>(point.bytes);
  }
  return at;
}

void append_utf8(char32_t code_point, std::string& text) {
  const auto add = [&text](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    add(code_point);
  } else if (code_point < 0x800) {
    add(0xC0 | (code_point >> 6));
    add(0x80 | (code_point & 0x3F));
  } else if (code_point < 0x10000) {
    add(0xE0 | (code_point >> 12));
    add(0x80 | ((code_point >> 6) & 0x3F));
    add(0x80 | (code_point & 0x3F));
  } else {
    add(0xF0 | (code_point >> 18));
    add(0x80 | ((code_point >> 12) & 0x3F));
    add(0x80 | ((code_point >> 6) & 0x3F));
    add(0x80 | (code_point & 0x3F));
  }
}

}  // namespace tsugi
