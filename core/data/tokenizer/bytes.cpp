#include <nlohmann/json.hpp>

#include "core/data/tokenizer/byte_level.h"
#include "core/data/tokenizer/forms.h"

namespace tsugi {
namespace {

nlohmann::ordered_json model_element() {
  nlohmann::ordered_json model = bpe_element(false);
  const std::array<std::string, 256>& names = byte_names();
  for (size_t byte = 0; byte < names.size(); ++byte) model["vocab"][names[byte]] = byte;
  model["merges"] = nlohmann::ordered_json::array();
  return model;
}

class ByteTokenizer : public Tokenizer {
 public:
  int64_t vocabulary() const override { return 256; }

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& /*options*/) const override {
    std::vector<int32_t> ids(text.size());
    for (size_t i = 0; i < text.size(); ++i) ids[i] = static_cast<uint8_t>(text[i]);
    return ids;
  }

  void append_token(int32_t id, std::string& text) const override { text.push_back(static_cast<char>(id)); }

  std::optional<int32_t> find_token(std::string_view content) const override {
    return content.size() == 1 ? std::optional(static_cast<int32_t>(static_cast<uint8_t>(content[0]))) : std::nullopt;
  }

  std::string to_json() const override {
    return frame_tokenizer_json(byte_level_element(false, false), byte_level_element(true, true), model_element());
  }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

std::unique_ptr<Tokenizer> read_byte_tokenizer(const JsonValue& document) {
  auto tokenizer = make_byte_tokenizer();
  if (document.raw() != nlohmann::json::parse(tokenizer->to_json())) return nullptr;
  return tokenizer;
}

}  // namespace tsugi
