#include "core/data/tokenizer/byte_level.h"

#include "core/data/utf8.h"

namespace tsugi {
namespace {

constexpr char32_t kFirstStandIn = 0x100;
constexpr size_t kNames = kFirstStandIn + 68;  // 68 bytes are not printable

bool prints(char32_t byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
}

/// By code point; -1: not the name of a byte.
std::array<int16_t, kNames> bytes_by_name() {
  std::array<int16_t, kNames> bytes;
  bytes.fill(-1);
  char32_t next = kFirstStandIn;
  for (char32_t byte = 0; byte < 256; ++byte) bytes[prints(byte) ? byte : next++] = static_cast<int16_t>(byte);
  return bytes;
}

}  // namespace

const std::array<std::string, 256>& byte_names() {
  static const std::array<std::string, 256> kTable = [] {
    std::array<std::string, 256> names;
    char32_t next = kFirstStandIn;
    for (char32_t byte = 0; byte < 256; ++byte) append_utf8(prints(byte) ? byte : next++, names[byte]);
    return names;
  }();
  return kTable;
}

std::string to_byte_names(std::string_view bytes) {
  const std::array<std::string, 256>& names = byte_names();
  std::string result;
  result.reserve(bytes.size() * 2);
  for (const char byte : bytes) result += names[static_cast<unsigned char>(byte)];
  return result;
}

std::optional<std::string> from_byte_names(std::string_view name) {
  static const std::array<int16_t, kNames> kBytes = bytes_by_name();
  std::string bytes;
  bytes.reserve(name.size());
  for (size_t offset = 0; offset < name.size();) {
    const CodePoint point = code_point_at(name, offset);
    if (point.bytes == 0 || point.value >= kNames || kBytes[point.value] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kBytes[point.value]));
    offset += static_cast<size_t>(point.bytes);
  }
  return bytes;
}

}  // namespace tsugi
