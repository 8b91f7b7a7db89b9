#include <glog/logging.h>

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/data/tokenizer/forms.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

// One token per code point. Hugging Face's engine (Oniguruma in Ruby's syntax) refuses "(?s)." for it.
constexpr const char* kAnyCharacter = "[\\s\\S]";
// WordLevel demands a name; it is no single character, so it never meets an entry and unknown symbols stay errors.
constexpr const char* kUnknown = "<unk>";
constexpr int32_t kAbsent = -1;

nlohmann::ordered_json split_characters() {
  nlohmann::ordered_json value;
  value["type"] = "Split";
  value["pattern"]["Regex"] = kAnyCharacter;
  value["behavior"] = "Isolated";
  value["invert"] = false;
  return value;
}

std::string code_name(char32_t value) {
  std::ostringstream name;
  name << "U+" << std::hex << std::uppercase << std::setw(4) << std::setfill('0') << static_cast<uint32_t>(value);
  return name.str();
}

class CharacterTokenizer : public Tokenizer {
 public:
  explicit CharacterTokenizer(std::vector<char32_t> characters) : characters_(std::move(characters)) {
    const char32_t largest = characters_.empty() ? 0 : *std::ranges::max_element(characters_);
    ids_.assign(largest + 1, kAbsent);
    for (size_t i = 0; i < characters_.size(); ++i) {
      CHECK_EQ(ids_[characters_[i]], kAbsent) << code_name(characters_[i]) << " twice";
      ids_[characters_[i]] = static_cast<int32_t>(i);
    }
  }

  int64_t vocabulary() const override { return static_cast<int64_t>(characters_.size()); }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& /*options*/) const override {
    std::vector<int32_t> ids;
    ids.reserve(text.size());
    for (size_t offset = 0; offset < text.size();) {
      const CodePoint point = code_point_at(text, offset);
      if (point.bytes == 0) throw Error(ExitCode::kData, "byte " + std::to_string(offset) + ": not valid UTF-8");
      const int32_t id = point.value < ids_.size() ? ids_[point.value] : kAbsent;
      if (id == kAbsent) {
        throw Error(ExitCode::kData, "byte " + std::to_string(offset) + ": the character " + code_name(point.value) +
                                         " \"" + std::string(text.substr(offset, static_cast<size_t>(point.bytes))) +
                                         "\" is not in the vocabulary of " + std::to_string(vocabulary()) +
                                         " characters");
      }
      ids.push_back(id);
      offset += static_cast<size_t>(point.bytes);
    }
    return ids;
  }

  void append_token(int32_t id, std::string& text) const override {
    append_utf8(characters_[static_cast<size_t>(id)], text);
  }

  std::optional<int32_t> find_token(std::string_view content) const override {
    const CodePoint point = content.empty() ? CodePoint{} : code_point_at(content, 0);
    if (point.bytes == 0 || static_cast<size_t>(point.bytes) != content.size()) return std::nullopt;
    const int32_t id = point.value < ids_.size() ? ids_[point.value] : kAbsent;
    return id == kAbsent ? std::nullopt : std::optional(id);
  }

  std::string to_json() const override {
    nlohmann::ordered_json::object_t entries;  // filled without a search for each key
    for (size_t i = 0; i < characters_.size(); ++i) {
      std::string name;
      append_utf8(characters_[i], name);
      static_cast<nlohmann::ordered_json::object_t::Container&>(entries).emplace_back(std::move(name), i);
    }
    nlohmann::ordered_json model;
    model["type"] = "WordLevel";
    model["vocab"] = std::move(entries);
    model["unk_token"] = kUnknown;
    return frame_tokenizer_json(split_characters(), {{"type", "Fuse"}}, std::move(model));
  }

 private:
  std::vector<char32_t> characters_;  // by id
  std::vector<int32_t> ids_;          // by code point
};

}  // namespace

std::unique_ptr<Tokenizer> make_character_tokenizer(std::string_view text) {
  std::vector<bool> seen(0x110000);
  for (size_t offset = 0; offset < text.size();) {
    const CodePoint point = code_point_at(text, offset);
    if (point.bytes == 0) throw Error(ExitCode::kData, "byte " + std::to_string(offset) + ": not valid UTF-8");
    seen[point.value] = true;
    offset += static_cast<size_t>(point.bytes);
  }
  std::vector<char32_t> characters;
  for (char32_t c = 0; c < seen.size(); ++c) {
    if (seen[c]) characters.push_back(c);
  }
  return make_character_tokenizer(std::move(characters));
}

std::unique_ptr<Tokenizer> make_character_tokenizer(std::vector<char32_t> code_points) {
  return std::make_unique<CharacterTokenizer>(std::move(code_points));
}

std::unique_ptr<Tokenizer> read_character_tokenizer(const JsonValue& document) {
  for (const char* key : {"normalizer", "post_processor"}) require_value(document, key, nullptr);
  require_value(document, "added_tokens", nlohmann::json::array());
  require_value(document, "pre_tokenizer", nlohmann::json(split_characters()));
  require_value(document, "decoder", {{"type", "Fuse"}});
  const JsonValue model = document.require_object("model");
  model.require_only({"type", "vocab", "unk_token"});
  require_value(model, "unk_token", kUnknown);
  const JsonValue vocabulary = model.require_object("vocab");
  const int64_t size = vocabulary.size();
  if (size == 0) throw vocabulary.error("is empty");
  constexpr char32_t kUnset = 0xFFFFFFFF;
  std::vector<char32_t> characters(static_cast<size_t>(size), kUnset);
  for (const auto& [key, value] : vocabulary.members()) {
    const CodePoint point = key.empty() ? CodePoint{} : code_point_at(key, 0);
    if (point.bytes == 0 || static_cast<size_t>(point.bytes) != key.size()) {
      throw value.error("is not a single character");
    }
    char32_t& place = characters[static_cast<size_t>(value.as_int(0, size - 1))];
    if (place != kUnset) throw value.error("has the id of " + code_name(place) + " too");
    place = point.value;
  }
  return make_character_tokenizer(std::move(characters));
}

}  // namespace tsugi
