// JSON from files that may be wrong or hostile. Parsing is strict (depth limit, no duplicate keys, no integers that do
// not fit 64 bits, valid UTF-8), and every getter says file and field when the value is not what it must be.
//
// To *write* JSON include <nlohmann/json.hpp> in the .cpp that does it; reading needs only this header.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <limits>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ops/base/error.h"

namespace tsugi {

/// A value of a parsed document together with the way to it ("model.vocab", "merges[3]"). Copies are cheap and keep the
/// document alive. All getters throw Error(kData) "FILE: field WAY: reason".
class JsonValue {
 public:
  bool is_null() const;
  bool is_bool() const;
  bool is_string() const;
  bool is_integer() const;
  bool is_number() const;  ///< integer or not
  bool is_array() const;
  bool is_object() const;

  // This value itself.
  bool as_bool() const;
  std::string as_string() const;
  /// An integer in [min, max]; 3.0 is not an integer.
  int64_t as_int(int64_t min = std::numeric_limits<int64_t>::min(),
                 int64_t max = std::numeric_limits<int64_t>::max()) const;
  /// Any number, finite.
  double as_double() const;

  // Members of an object; a missing key is an error.
  JsonValue require(std::string_view key) const;
  JsonValue require_object(std::string_view key) const;
  JsonValue require_array(std::string_view key) const;
  std::string require_string(std::string_view key) const;
  bool require_bool(std::string_view key) const;
  double require_double(std::string_view key) const;
  int64_t require_int(std::string_view key, int64_t min = std::numeric_limits<int64_t>::min(),
                      int64_t max = std::numeric_limits<int64_t>::max()) const;

  // Members that may be absent or null; a wrong type is still an error.
  bool has(std::string_view key) const;  ///< present and not null
  std::string string_or(std::string_view key, const std::string& otherwise) const;
  bool bool_or(std::string_view key, bool otherwise) const;
  double double_or(std::string_view key, double otherwise) const;
  int64_t int_or(std::string_view key, int64_t otherwise, int64_t min = std::numeric_limits<int64_t>::min(),
                 int64_t max = std::numeric_limits<int64_t>::max()) const;

  /// Throws when this object has a member that is not in the list.
  void require_only(std::initializer_list<std::string_view> keys) const;

  /// Elements of an array or members of an object.
  int64_t size() const;
  /// Element of an array; out of range throws.
  JsonValue at(int64_t index) const;
  std::vector<JsonValue> elements() const;
  /// Members of an object, ascending by key.
  std::vector<std::pair<std::string, JsonValue>> members() const;

  /// "FILE: field WAY: reason" as an Error(kData), for rules of the caller.
  Error error(const std::string& reason, std::string hint = {}) const;
  const std::string& origin() const;
  /// For whoever includes <nlohmann/json.hpp>.
  const nlohmann::json& raw() const { return *value_; }

 private:
  struct Document;
  friend JsonValue parse_json(std::string_view text, const std::string& origin, int max_depth);
  JsonValue(std::shared_ptr<const Document> document, const nlohmann::json* value, std::string way);
  JsonValue member(std::string_view key, const nlohmann::json& value) const;

  std::shared_ptr<const Document> document_;
  const nlohmann::json* value_;
  std::string way_;
};

/// Parses one JSON text. `origin` is the file that errors name. Arrays and objects nest at most `max_depth` deep.
/// Throws Error(kData) naming file, byte offset (from 0) and reason.
JsonValue parse_json(std::string_view text, const std::string& origin, int max_depth = 64);

/// read_file() and parse_json().
JsonValue read_json(const std::string& path, int64_t max_bytes, int max_depth = 64);

}  // namespace tsugi
