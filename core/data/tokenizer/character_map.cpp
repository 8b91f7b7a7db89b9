#include "core/data/tokenizer/character_map.h"

#include <algorithm>
#include <cstring>

#include "core/data/tokenizer/graphemes.h"
#include "core/data/utf8.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr size_t kLongCluster = 6;
constexpr uint32_t kLeaf = uint32_t{1} << 31;

[[noreturn]] void refuse_map(const std::string& reason) { throw Error(ExitCode::kData, reason); }

int base64_digit(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

/// RFC 4648, section 4, with padding.
std::string from_base64(std::string_view text) {
  if (text.size() % 4 != 0) refuse_map("is not base64: its length is no multiple of 4");
  const size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t word = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int digit = i + padding >= text.size() ? 0 : base64_digit(text[i]);
    if (digit < 0) refuse_map("is not base64 at character " + std::to_string(i));
    word = word << 6 | static_cast<uint32_t>(digit);
    if (i % 4 != 3) continue;
    for (int shift = 16; shift >= 0; shift -= 8) bytes += static_cast<char>(word >> shift & 0xFF);
    word = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

uint32_t little_endian(const char* bytes) {
  uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

/// What a unit's number is changed by to come to those that follow it.
uint32_t unit_offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200) >> 6); }

}  // namespace

CharacterMap::CharacterMap(std::string_view base64) {
  const std::string bytes = from_base64(base64);
  if (bytes.size() < 8) refuse_map("has no array");
  const size_t size = little_endian(bytes.data());
  if (size % 4 != 0 || size < 4 || size > bytes.size() - 4) {
    refuse_map("says that its array has " + std::to_string(size) + " bytes, and has " + std::to_string(bytes.size()) +
               " in all");
  }
  for (size_t at = 4; at < 4 + size; at += 4) units_.push_back(little_endian(bytes.data() + at));
  texts_ = bytes.substr(4 + size);
  if (valid_utf8_prefix(texts_) != texts_.size()) refuse_map("has texts that are not UTF-8");
  for (size_t c = 0; c < ascii_.size(); ++c) {
    const char one = static_cast<char>(c);
    ascii_[c] = find({&one, 1});
  }
}

uint32_t CharacterMap::unit(size_t at) const {
  if (at >= units_.size()) refuse_map("precompiled_charsmap: a rule leads out of its array");
  return units_[at];
}

std::optional<std::string_view> CharacterMap::find(std::string_view text) const {
  size_t at = unit_offset(unit(0));
  for (const char c : text) {
    const auto label = static_cast<uint8_t>(c);
    if (label == 0) return std::nullopt;
    at ^= label;
    const uint32_t here = unit(at);
    if ((here & (kLeaf | 0xFF)) != label) return std::nullopt;
    at ^= unit_offset(here);
    if ((here & 0x100) == 0) continue;
    const size_t place = unit(at) & (kLeaf - 1);
    if (place > texts_.size() || (place < texts_.size() && (static_cast<uint8_t>(texts_[place]) & 0xC0) == 0x80)) {
      refuse_map("precompiled_charsmap: a rule leads to no text");
    }
    const std::string_view rest = std::string_view(texts_).substr(place);
    return rest.substr(0, rest.find('\0'));
  }
  return std::nullopt;
}

std::string CharacterMap::apply(std::string_view text) const {
  std::string result;
  result.reserve(text.size());
  const auto is_ascii = [&](size_t at) { return at >= text.size() || static_cast<uint8_t>(text[at]) < 0x80; };
  for (size_t at = 0; at < text.size();) {
    // Between characters of ASCII there are always borders, but in CR LF.
    if (is_ascii(at) && is_ascii(at + 1) && text[at] != '\r') {
      const std::optional<std::string>& mapped = ascii_[static_cast<uint8_t>(text[at])];
      if (mapped) {
        result += *mapped;
      } else {
        result += text[at];
      }
      ++at;
      continue;
    }
    const size_t end = grapheme_end(text, at);
    const std::string_view cluster = text.substr(at, end - at);
    at = end;
    const auto whole = cluster.size() < kLongCluster ? find(cluster) : std::nullopt;
    if (whole) {
      result += *whole;
      continue;
    }
    for (size_t i = 0; i < cluster.size();) {
      const std::string_view one = cluster.substr(i, static_cast<size_t>(code_point_at(cluster, i).bytes));
      result += find(one).value_or(one);
      i += one.size();
    }
  }
  return result;
}

}  // namespace tsugi
