// parse_json on any text: an Error(kData), or a document that nlohmann-json alone reads alike.
#include <nlohmann/json.hpp>

#include "core/data/json.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using tsugi::JsonValue;

/// Touches every value through the getters.
void walk(const JsonValue& value, int depth) {
  CHECK_LE(depth, 16);
  if (value.is_array()) {
    for (const JsonValue& element : value.elements()) walk(element, depth + 1);
  } else if (value.is_object()) {
    for (const auto& [key, member] : value.members()) {
      CHECK(value.require(key).raw() == member.raw());
      walk(member, depth + 1);
    }
  } else {
    try {
      value.as_int(-5, 5);
      CHECK(value.is_integer());
    } catch (const tsugi::Error&) {
    }
  }
}

}  // namespace

TSUGI_FUZZ_TARGET(json) {
  const std::string_view text = tsugi::fuzzing::as_text(input);
  tsugi::fuzzing::refuse_or([&] {
    const JsonValue value = tsugi::parse_json(text, "input", 16);
    CHECK(nlohmann::json::parse(text) == value.raw());
    walk(value, 0);
  });
}
