#include "core/data/tokenizer/tokenizer.h"

#include <nlohmann/json.hpp>

#include "core/data/tokenizer/forms.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 28;

}  // namespace

std::string frame_tokenizer_json(nlohmann::ordered_json pre_tokenizer, nlohmann::ordered_json decoder,
                                 nlohmann::ordered_json model) {
  nlohmann::ordered_json frame;
  frame["version"] = "1.0";
  frame["truncation"] = nullptr;
  frame["padding"] = nullptr;
  frame["added_tokens"] = nlohmann::ordered_json::array();
  frame["normalizer"] = nullptr;
  frame["pre_tokenizer"] = std::move(pre_tokenizer);
  frame["post_processor"] = nullptr;
  frame["decoder"] = std::move(decoder);
  frame["model"] = std::move(model);
  return frame.dump(2) + '\n';
}

void require_value(const JsonValue& object, std::string_view key, const nlohmann::json& expected) {
  const JsonValue value = object.require(key);
  if (value.raw() == expected) return;
  // A container that differs may be of any size: only scalars are shown.
  const std::string found = value.raw().is_structured() ? value.raw().type_name() : value.raw().dump();
  throw value.error(found + " is not supported; must be " + expected.dump());
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  const JsonValue document = read_json(path, kMaxFileBytes);
  document.require_only({"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer",
                         "post_processor", "decoder", "model"});
  require_value(document, "version", "1.0");
  for (const char* key : {"truncation", "padding", "normalizer", "post_processor"}) {
    require_value(document, key, nullptr);
  }
  require_value(document, "added_tokens", nlohmann::json::array());
  const JsonValue model = document.require_object("model");
  const std::string type = model.require_string("type");
  if (type == "BPE") return read_byte_tokenizer(document);
  if (type == "WordLevel") return read_character_tokenizer(document);
  throw model.require("type").error("\"" + type + "\" is not supported",
                                    "tsugi reads byte-level BPE without merges and WordLevel of single characters");
}

}  // namespace tsugi
