#include "core/data/json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/data/file.h"

namespace tsugi {
namespace {

using nlohmann::json;

/// Reads bytes and counts them, so that handlers know how far the parser is.
class CountingIterator {
 public:
  using difference_type = std::ptrdiff_t;
  using value_type = char;
  using pointer = const char*;
  using reference = const char&;
  using iterator_category = std::input_iterator_tag;

  CountingIterator(const char* position, int64_t* count) : position_(position), count_(count) {}
  reference operator*() const { return *position_; }
  CountingIterator& operator++() {
    ++position_;
    ++*count_;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return position_ == other.position_; }
  bool operator!=(const CountingIterator& other) const { return position_ != other.position_; }

 private:
  const char* position_;
  int64_t* count_;
};

std::string shown(std::string_view text) {
  constexpr size_t kShown = 80;
  return '"' + std::string(text.substr(0, kShown)) + (text.size() > kShown ? "…\"" : "\"");
}

/// Builds the document and refuses what nlohmann-json accepts silently.
class JsonBuilder {
 public:
  JsonBuilder(json& root, const std::string& origin, int max_depth, const int64_t& position)
      : root_(root), origin_(origin), max_depth_(max_depth), position_(position) {}

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(int64_t value) { return add(value); }
  bool number_unsigned(uint64_t value) { return add(value); }
  bool number_float(double value, const std::string& text) {
    if (text.find_first_of(".eE") == std::string::npos) fail("integer " + shown(text) + " does not fit 64 bits");
    return add(value);
  }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(json::binary_t& value) { return add(std::move(value)); }
  bool start_object(size_t /*unknown*/) { return open(json::object()); }
  bool start_array(size_t /*unknown*/) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    const auto [place, inserted] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!inserted) fail("duplicate key " + shown(name));
    member_ = &place->second;
    return true;
  }
  template <class Exception>
  bool parse_error(size_t /*position*/, const std::string& /*token*/, const Exception& exception) {
    // "[json.exception.parse_error.101] parse error at line 1, column 3: syntax error …": keep what follows.
    // A syntax error ends in what was read last, which may be as long as the file.
    constexpr size_t kShown = 240;
    const std::string text = exception.what();
    const size_t colon = text.find(": ");
    const std::string reason = colon == std::string::npos ? text : text.substr(colon + 2);
    fail(reason.size() > kShown ? reason.substr(0, kShown) + "…" : reason);
    return false;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    const int64_t offset = std::max<int64_t>(position_ - 1, 0);
    throw Error(ExitCode::kData, origin_ + ": byte " + std::to_string(offset) + ": " + reason);
  }
  json* place(json&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }
  bool add(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    if (static_cast<int>(open_.size()) >= max_depth_) {
      fail("nested deeper than " + std::to_string(max_depth_) + " levels");
    }
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  json& root_;
  const std::string& origin_;
  int max_depth_;
  const int64_t& position_;
  std::vector<json*> open_;
  json* member_ = nullptr;
};

}  // namespace

struct JsonValue::Document {
  std::string origin;
  json root;
};

JsonValue parse_json(std::string_view text, const std::string& origin, int max_depth) {
  auto document = std::make_shared<JsonValue::Document>();
  document->origin = origin;
  int64_t position = 0;
  JsonBuilder builder(document->root, origin, max_depth, position);
  const char* begin = text.data();
  // Handlers throw with the offset; there is no other way to fail.
  json::sax_parse(CountingIterator(begin, &position), CountingIterator(begin + text.size(), &position), &builder);
  const json* root = &document->root;
  return JsonValue(std::move(document), root, "");
}

JsonValue read_json(const std::string& path, int64_t max_bytes, int max_depth) {
  return parse_json(read_file(path, max_bytes), path, max_depth);
}

JsonValue::JsonValue(std::shared_ptr<const Document> document, const json* value, std::string way)
    : document_(std::move(document)), value_(value), way_(std::move(way)) {}

bool JsonValue::is_null() const { return value_->is_null(); }
bool JsonValue::is_bool() const { return value_->is_boolean(); }
bool JsonValue::is_string() const { return value_->is_string(); }
bool JsonValue::is_integer() const { return value_->is_number_integer(); }
bool JsonValue::is_number() const { return value_->is_number(); }
bool JsonValue::is_array() const { return value_->is_array(); }
bool JsonValue::is_object() const { return value_->is_object(); }

const std::string& JsonValue::origin() const { return document_->origin; }

Error JsonValue::error(const std::string& reason, std::string hint) const {
  const std::string field = way_.empty() ? "top level" : "field " + way_;
  return Error(ExitCode::kData, origin() + ": " + field + ": " + reason, std::move(hint));
}

bool JsonValue::as_bool() const {
  if (!is_bool()) throw error(std::string("must be true or false, not ") + value_->type_name());
  return value_->get<bool>();
}

std::string JsonValue::as_string() const {
  if (!is_string()) throw error(std::string("must be a string, not ") + value_->type_name());
  return value_->get<std::string>();
}

int64_t JsonValue::as_int(int64_t min, int64_t max) const {
  if (!is_integer()) {
    throw error("must be an integer, not " + (is_number() ? value_->dump() : std::string(value_->type_name())));
  }
  const bool too_large = value_->is_number_unsigned() &&
                         value_->get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (too_large || value_->get<int64_t>() < min || value_->get<int64_t>() > max) {
    throw error("must be in [" + std::to_string(min) + ", " + std::to_string(max) + "], not " + value_->dump());
  }
  return value_->get<int64_t>();
}

double JsonValue::as_double() const {
  if (!is_number()) throw error(std::string("must be a number, not ") + value_->type_name());
  return value_->get<double>();
}

JsonValue JsonValue::member(std::string_view key, const json& value) const {
  return JsonValue(document_, &value, way_.empty() ? std::string(key) : way_ + "." + std::string(key));
}

JsonValue JsonValue::require(std::string_view key) const {
  if (!is_object()) throw error(std::string("must be an object, not ") + value_->type_name());
  const auto found = value_->find(key);
  if (found == value_->end()) throw error("lacks " + shown(key));
  return member(key, *found);
}

JsonValue JsonValue::require_object(std::string_view key) const {
  const JsonValue value = require(key);
  if (!value.is_object()) throw value.error(std::string("must be an object, not ") + value.value_->type_name());
  return value;
}

JsonValue JsonValue::require_array(std::string_view key) const {
  const JsonValue value = require(key);
  if (!value.is_array()) throw value.error(std::string("must be an array, not ") + value.value_->type_name());
  return value;
}

std::string JsonValue::require_string(std::string_view key) const { return require(key).as_string(); }
bool JsonValue::require_bool(std::string_view key) const { return require(key).as_bool(); }
double JsonValue::require_double(std::string_view key) const { return require(key).as_double(); }
int64_t JsonValue::require_int(std::string_view key, int64_t min, int64_t max) const {
  return require(key).as_int(min, max);
}

bool JsonValue::has(std::string_view key) const {
  if (!is_object()) throw error(std::string("must be an object, not ") + value_->type_name());
  const auto found = value_->find(key);
  return found != value_->end() && !found->is_null();
}

std::string JsonValue::string_or(std::string_view key, const std::string& otherwise) const {
  return has(key) ? require_string(key) : otherwise;
}
bool JsonValue::bool_or(std::string_view key, bool otherwise) const { return has(key) ? require_bool(key) : otherwise; }
double JsonValue::double_or(std::string_view key, double otherwise) const {
  return has(key) ? require_double(key) : otherwise;
}
int64_t JsonValue::int_or(std::string_view key, int64_t otherwise, int64_t min, int64_t max) const {
  return has(key) ? require_int(key, min, max) : otherwise;
}

void JsonValue::require_only(std::initializer_list<std::string_view> keys) const {
  if (!is_object()) throw error(std::string("must be an object, not ") + value_->type_name());
  for (const auto& [key, value] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) throw error("has unknown member " + shown(key));
  }
}

int64_t JsonValue::size() const {
  if (!is_array() && !is_object()) throw error(std::string("must be an array or object, not ") + value_->type_name());
  return static_cast<int64_t>(value_->size());
}

JsonValue JsonValue::at(int64_t index) const {
  if (!is_array()) throw error(std::string("must be an array, not ") + value_->type_name());
  if (index < 0 || index >= size()) throw error("has no element " + std::to_string(index));
  return JsonValue(document_, &(*value_)[static_cast<size_t>(index)], way_ + "[" + std::to_string(index) + "]");
}

std::vector<JsonValue> JsonValue::elements() const {
  if (!is_array()) throw error(std::string("must be an array, not ") + value_->type_name());
  std::vector<JsonValue> result;
  result.reserve(value_->size());
  for (int64_t i = 0; i < size(); ++i) result.push_back(at(i));
  return result;
}

std::vector<std::pair<std::string, JsonValue>> JsonValue::members() const {
  if (!is_object()) throw error(std::string("must be an object, not ") + value_->type_name());
  std::vector<std::pair<std::string, JsonValue>> result;
  result.reserve(value_->size());
  for (const auto& [key, value] : value_->get_ref<const json::object_t&>()) {
    result.emplace_back(key, member(key, value));
  }
  return result;
}

}  // namespace tsugi
