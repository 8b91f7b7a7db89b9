#include "core/data/tokenizer/byte_fallback.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "core/data/tokenizer/forms.h"

namespace tsugi {

std::string fallback_name(uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + '>';
}

std::optional<uint8_t> fallback_byte(std::string_view name) {
  if (name.size() != 6 || !name.starts_with("<0x") || name[5] != '>') return std::nullopt;
  uint8_t byte = 0;
  const char* const end = name.data() + 5;
  const auto [stop, error] = std::from_chars(name.data() + 3, end, byte, 16);
  if (error != std::errc() || stop != end) return std::nullopt;
  return byte;
}

FallbackDecoder::FallbackDecoder(const JsonValue& element) {
  require_value(element, "type", "Sequence");
  element.require_only({"type", "decoders"});
  const std::vector<JsonValue> steps = element.require_array("decoders").elements();
  size_t i = 0;
  const auto is = [&](const char* type) { return i < steps.size() && steps[i].require_string("type") == type; };
  for (; is("Replace"); ++i) replacements_.emplace_back(steps[i]);
  for (const char* type : {"ByteFallback", "Fuse"}) {
    if (!is(type)) {
      throw element.error(
          "must have " + std::string(type) + " as step " + std::to_string(i + 1),
          "tsugi reads Replace, ByteFallback, Fuse and Strip in this order for a model with byte_fallback");
    }
    steps[i++].require_only({"type"});
  }
  if (is("Strip")) {
    steps[i].require_only({"type", "content", "start", "stop"});
    require_value(steps[i], "content", " ");
    require_value(steps[i], "stop", 0);
    leading_spaces_ = static_cast<size_t>(steps[i].require_int("start", 0, 1 << 16));
    ++i;
  }
  if (i < steps.size()) throw steps[i].error("is not supported there", "Strip, or Fuse without it, must be the last");
}

std::string FallbackDecoder::apply(std::string_view token) const {
  std::string text(token);
  for (const Normalizer& replacement : replacements_) text = replacement.apply(text);
  const std::optional<uint8_t> byte = fallback_byte(text);
  return byte ? std::string(1, static_cast<char>(*byte)) : text;
}

}  // namespace tsugi
