#include <array>
#include <nlohmann/json.hpp>

#include "core/data/tokenizer/forms.h"
#include "core/data/utf8.h"

namespace tsugi {
namespace {

/// GPT-2's printable stand-ins for the bytes (bytes_to_unicode() of its encoder.py): a byte that Latin-1 prints stands
/// for itself; the others, ascending, are U+0100, U+0101 …
std::array<std::string, 256> byte_names() {
  std::array<std::string, 256> names;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable =
        (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || (byte >= 0xAE && byte <= 0xFF);
    append_utf8(printable ? byte : next++, names[byte]);
  }
  return names;
}

/// A pre-tokenizer with `split` false leaves the text in one piece. A decoder has the same members, but they mean
/// nothing there; the library writes true.
nlohmann::ordered_json byte_level(bool split) {
  nlohmann::ordered_json value;
  value["type"] = "ByteLevel";
  value["add_prefix_space"] = split;
  value["trim_offsets"] = true;
  value["use_regex"] = split;
  return value;
}

/// The model of a tokenizer.json but its vocabulary and (no) merges.
nlohmann::ordered_json byte_model() {
  nlohmann::ordered_json value;
  value["type"] = "BPE";
  value["dropout"] = nullptr;
  value["unk_token"] = nullptr;
  value["continuing_subword_prefix"] = nullptr;
  value["end_of_word_suffix"] = nullptr;
  value["fuse_unk"] = false;
  value["byte_fallback"] = false;
  value["ignore_merges"] = false;
  return value;
}

class ByteTokenizer : public Tokenizer {
 public:
  int64_t vocabulary() const override { return 256; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<uint8_t>(text[i]);
    return ids;
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    std::string text(ids.size(), '\0');
    for (size_t i = 0; i < ids.size(); ++i) {
      if (ids[i] < 0 || ids[i] > 255) {
        throw Error(ExitCode::kData, "id " + std::to_string(ids[i]) + " at position " + std::to_string(i) +
                                         " is not in the vocabulary of 256 bytes");
      }
      text[i] = static_cast<char>(ids[i]);
    }
    return text;
  }

  std::string to_json() const override {
    nlohmann::ordered_json model = byte_model();
    const std::array<std::string, 256> names = byte_names();
    for (size_t byte = 0; byte < names.size(); ++byte) model["vocab"][names[byte]] = byte;
    model["merges"] = nlohmann::ordered_json::array();
    return frame_tokenizer_json(byte_level(false), byte_level(true), std::move(model));
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> read_byte_tokenizer(const JsonValue& document) {
  for (const char* key : {"pre_tokenizer", "decoder"}) {
    const JsonValue part = document.require_object(key);
    part.require_only({"type", "add_prefix_space", "trim_offsets", "use_regex"});
    require_value(part, "type", "ByteLevel");
  }
  require_value(document.require("pre_tokenizer"), "add_prefix_space", false);
  require_value(document.require("pre_tokenizer"), "use_regex", false);
  const JsonValue model = document.require_object("model");
  model.require_only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk",
                      "byte_fallback", "ignore_merges", "vocab", "merges"});
  const nlohmann::ordered_json fixed = byte_model();
  for (const auto& [key, value] : fixed.items()) require_value(model, key, value);
  require_value(model, "merges", nlohmann::json::array());
  const JsonValue vocabulary = model.require_object("vocab");
  if (vocabulary.size() != 256) {
    throw vocabulary.error("has " + std::to_string(vocabulary.size()) + " entries; must be the 256 bytes");
  }
  const std::array<std::string, 256> names = byte_names();
  for (size_t byte = 0; byte < names.size(); ++byte) require_value(vocabulary, names[byte], byte);
  return make_byte_tokenizer();
}

}  // namespace tsugi
