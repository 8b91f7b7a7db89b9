#include "core/model/huggingface.h"

#include <nlohmann/json.hpp>

#include "core/data/json.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxConfigBytes = 64 << 20;

/// A field that must have one of these values, or be absent (the first one being transformers' default).
void require_value(const JsonValue& config, const std::string& field, const std::vector<std::string>& allowed) {
  const std::string value = config.string_or(field, allowed.front());
  for (const std::string& candidate : allowed) {
    if (value == candidate) return;
  }
  throw config.error("\"" + field + "\" is \"" + value + "\", this model has \"" + allowed.front() + "\"");
}

std::vector<std::string> read_labels(const JsonValue& config) {
  std::vector<std::string> labels;
  const JsonValue names = config.require_object("id2label");
  for (int64_t i = 0; i < names.size(); ++i) labels.push_back(names.require_string(std::to_string(i)));
  return labels;
}

}  // namespace

std::string to_huggingface_config(const ModelConfig& model, const std::vector<std::string>& labels) {
  nlohmann::ordered_json json;
  const bool classifier = !labels.empty();
  json["architectures"] = {classifier ? "GPT2ForSequenceClassification" : "GPT2LMHeadModel"};
  json["model_type"] = "gpt2";
  json["activation_function"] = "gelu_new";
  json["attn_pdrop"] = model.dropout();
  json["embd_pdrop"] = model.dropout();
  json["resid_pdrop"] = model.dropout();
  json["initializer_range"] = 0.02;
  json["layer_norm_epsilon"] = 1e-5;
  json["n_ctx"] = model.context();
  json["n_embd"] = model.width();
  json["n_head"] = model.heads();
  json["n_inner"] = nullptr;
  json["n_layer"] = model.layers();
  json["n_positions"] = model.context();
  json["scale_attn_weights"] = true;
  json["tie_word_embeddings"] = true;
  json["torch_dtype"] = "float32";
  json["use_cache"] = true;
  json["vocab_size"] = model.vocabulary();
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  if (classifier) {
    json["pad_token_id"] = 0;
    for (size_t i = 0; i < labels.size(); ++i) {
      json["id2label"][std::to_string(i)] = labels[i];
      json["label2id"][labels[i]] = i;
    }
  }
  return json.dump(2) + "\n";
}

std::string to_huggingface_tokenizer_config(const ModelConfig& model) {
  nlohmann::ordered_json json;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  json["model_max_length"] = model.context();
  json["clean_up_tokenization_spaces"] = false;
  return json.dump(2) + "\n";
}

HuggingfaceModel load_huggingface_config(const std::string& folder) {
  const JsonValue json = read_json(folder + "/config.json", kMaxConfigBytes);
  require_value(json, "model_type", {"gpt2"});
  require_value(json, "activation_function", {"gelu_new", "gelu_pytorch_tanh"});
  if (!json.bool_or("tie_word_embeddings", true)) throw json.error("untied embeddings are not supported");
  if (!json.bool_or("scale_attn_weights", true) || json.bool_or("scale_attn_by_inverse_layer_idx", false)) {
    throw json.error("this scaling of attention is not supported");
  }
  const double epsilon = json.double_or("layer_norm_epsilon", 1e-5);
  if (epsilon != 1e-5) throw json.error("\"layer_norm_epsilon\" is " + std::to_string(epsilon) + ", must be 1e-5");

  HuggingfaceModel result;
  result.model.set_layers(static_cast<int32_t>(json.require_int("n_layer", 1, 1024)));
  result.model.set_heads(static_cast<int32_t>(json.require_int("n_head", 1, 1024)));
  result.model.set_width(static_cast<int32_t>(json.require_int("n_embd", 1, 65536)));
  result.model.set_context(static_cast<int32_t>(json.require_int("n_positions", 1, 1048576)));
  result.model.set_vocabulary(json.require_int("vocab_size", 1, 2'000'000'000));
  result.model.set_dropout(static_cast<float>(json.double_or("resid_pdrop", 0.1)));
  if (result.model.width() % result.model.heads() != 0) {
    throw json.error("n_embd " + std::to_string(result.model.width()) + " is not a multiple of n_head " +
                     std::to_string(result.model.heads()));
  }
  if (json.int_or("n_inner", 4 * result.model.width()) != 4 * result.model.width()) {
    throw json.error("\"n_inner\" must be 4·n_embd");
  }
  for (const JsonValue& architecture : json.require_array("architectures").elements()) {
    if (architecture.as_string() == "GPT2ForSequenceClassification") result.labels = read_labels(json);
  }
  return result;
}

}  // namespace tsugi
