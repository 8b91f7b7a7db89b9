#include "core/model/folder_texts.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/config/families.h"
#include "core/data/file.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxTextBytes = int64_t{1} << 30;
constexpr const char* kTextNames[] = {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tokenization_tsugi.py",
};

constexpr const char* kTokenizerCode = R"(from transformers import PreTrainedTokenizerFast


class FileTokenizer(PreTrainedTokenizerFast):
    """tokenizer.json as it is, where transformers would take the pattern of its own Qwen2Tokenizer."""
)";

}  // namespace

std::map<std::string, std::string> carried_texts(const std::string& folder) {
  std::map<std::string, std::string> texts;
  for (const char* name : kTextNames) {
    const std::string path = folder + "/" + name;
    if (std::filesystem::exists(path)) texts[name] = read_file(path, kMaxTextBytes);
  }
  return texts;
}

std::map<std::string, std::string> tokenizer_texts(const ModelConfig& model) {
  std::map<std::string, std::string> texts;
  auto json = nlohmann::ordered_json::parse(to_huggingface_tokenizer_config(model));
  if (huggingface_model_type(model) == "qwen2") {
    // The class for the tokenizers of Python, which there is not, and that for those of files.
    json["auto_map"]["AutoTokenizer"] = {nullptr, "tokenization_tsugi.FileTokenizer"};
    texts["tokenization_tsugi.py"] = kTokenizerCode;
  }
  texts["tokenizer_config.json"] = json.dump(2) + "\n";
  return texts;
}

bool generates(const HuggingfaceModel& description) {
  return !description.model.bidirectional() && description.labels.empty();
}

std::string to_generation_config(const HuggingfaceModel& description) {
  nlohmann::ordered_json json;
  json["_from_model_config"] = true;
  if (has_decoder(description.model)) json["decoder_start_token_id"] = description.model.decoder_start_token();
  for (const auto& [field, text] : description.token_ids) json[field] = nlohmann::ordered_json::parse(text);
  return json.dump(2) + "\n";
}

}  // namespace tsugi
