#include <charconv>
#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/config/families.h"
#include "core/model/huggingface.h"

namespace tsugi {
namespace {

using Json = nlohmann::ordered_json;

struct ModelType {
  const char* name;  ///< "model_type"
  const char* language;
  const char* classifier;
  const char* body;  ///< an encoder without a head; null: there is always one
};
constexpr ModelType kWrittenTypes[] = {
    {"gpt2", "GPT2LMHeadModel", "GPT2ForSequenceClassification", nullptr},
    {"llama", "LlamaForCausalLM", "LlamaForSequenceClassification", nullptr},
    {"mistral", "MistralForCausalLM", "MistralForSequenceClassification", nullptr},
    {"arcee", "ArceeForCausalLM", "ArceeForSequenceClassification", nullptr},
    {"qwen2", "Qwen2ForCausalLM", "Qwen2ForSequenceClassification", nullptr},
    {"qwen3", "Qwen3ForCausalLM", "Qwen3ForSequenceClassification", nullptr},
    {"bert", "BertForMaskedLM", "BertForSequenceClassification", "BertModel"},
    {"roberta", "RobertaForMaskedLM", "RobertaForSequenceClassification", "RobertaModel"},
    {"distilbert", "DistilBertForMaskedLM", "DistilBertForSequenceClassification", "DistilBertModel"},
    {"electra", "ElectraForMaskedLM", "ElectraForSequenceClassification", "ElectraModel"},
    {"vit", "ViTModel", "ViTForImageClassification", nullptr},
    {"t5", "T5ForConditionalGeneration", "T5ForSequenceClassification", nullptr},
    {"tsugi", "TsugiForCausalLM", "TsugiForSequenceClassification", nullptr},
};

/// Not in its config.json but in its code.
constexpr double kDistilbertEpsilon = 1e-12;

/// A float as the decimal number that was meant: 0.1f as 0.1, not as 0.10000000149.
double as_written(float value) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof(text), value).ptr;
  double result = 0.0;
  std::from_chars(text, end, result);
  return result;
}

const char* activation_name(const ModelConfig& model) {
  switch (model.activation()) {
    case ModelConfig::GELU_ERF:
      return "gelu";
    case ModelConfig::RELU_SQUARED:
      return "relu2";
    default:
      return "gelu_new";
  }
}

void write_bert(const ModelConfig& model, const std::string& type, Json& json) {
  json["hidden_size"] = model.width();
  json["intermediate_size"] = model.mlp_width();
  json["num_hidden_layers"] = model.layers();
  json["num_attention_heads"] = model.heads();
  json["hidden_act"] = activation_name(model);
  json["hidden_dropout_prob"] = as_written(model.dropout());
  json["attention_probs_dropout_prob"] = as_written(model.dropout());
  json["layer_norm_eps"] = model.norm_epsilon();
  json["max_position_embeddings"] = model.context() + model.position_offset();
  json["position_embedding_type"] = "absolute";
  json["type_vocab_size"] = model.segments();
  json["pad_token_id"] = type == "roberta" ? model.position_offset() - 1 : 0;
  if (type == "electra") json["embedding_size"] = model.width();
}

void write_vit(const ModelConfig& model, Json& json) {
  json["hidden_size"] = model.width();
  json["intermediate_size"] = model.mlp_width();
  json["num_hidden_layers"] = model.layers();
  json["num_attention_heads"] = model.heads();
  json["hidden_act"] = activation_name(model);
  json["hidden_dropout_prob"] = as_written(model.dropout());
  json["attention_probs_dropout_prob"] = as_written(model.dropout());
  json["layer_norm_eps"] = model.norm_epsilon();
  json["image_size"] = model.image_size();
  json["patch_size"] = model.patch_size();
  json["num_channels"] = model.image_channels();
  json["qkv_bias"] = true;
  json["encoder_stride"] = model.patch_size();
}

void write_t5(const ModelConfig& model, Json& json) {
  json["d_model"] = model.width();
  json["d_kv"] = model.head_dim();
  json["d_ff"] = model.mlp_width();
  json["num_layers"] = model.layers();
  json["num_decoder_layers"] = model.decoder_layers();
  json["num_heads"] = model.heads();
  json["feed_forward_proj"] = model.activation() == ModelConfig::RELU ? "relu" : "gated-gelu";
  json["dropout_rate"] = as_written(model.dropout());
  json["layer_norm_epsilon"] = model.norm_epsilon();
  json["n_positions"] = model.context();
  json["relative_attention_num_buckets"] = model.relative_buckets();
  json["relative_attention_max_distance"] = model.relative_distance();
  json["is_encoder_decoder"] = true;
  json["scale_decoder_outputs"] = model.scale_outputs();
  json["decoder_start_token_id"] = model.decoder_start_token();
  json["pad_token_id"] = model.decoder_start_token();
}

void write_distilbert(const ModelConfig& model, Json& json) {
  json["dim"] = model.width();
  json["hidden_dim"] = model.mlp_width();
  json["n_layers"] = model.layers();
  json["n_heads"] = model.heads();
  json["activation"] = activation_name(model);
  json["dropout"] = as_written(model.dropout());
  json["attention_dropout"] = as_written(model.dropout());
  json["max_position_embeddings"] = model.context();
  json["sinusoidal_pos_embds"] = false;
  json["pad_token_id"] = 0;
}

void write_gpt2(const ModelConfig& model, Json& json) {
  json["activation_function"] = activation_name(model);
  json["attn_pdrop"] = as_written(model.dropout());
  json["embd_pdrop"] = as_written(model.dropout());
  json["resid_pdrop"] = as_written(model.dropout());
  json["layer_norm_epsilon"] = model.norm_epsilon();
  json["n_ctx"] = model.context();
  json["n_embd"] = model.width();
  json["n_head"] = model.heads();
  json["n_inner"] = model.mlp_width() == 4 * model.width() ? Json() : Json(model.mlp_width());
  json["n_layer"] = model.layers();
  json["n_positions"] = model.context();
  json["scale_attn_weights"] = true;
}

Json scaling_of(const RopeScaling& scaling) {
  Json json;
  if (scaling.kind() == RopeScaling::NONE) return json;
  const bool yarn = scaling.kind() == RopeScaling::YARN;
  json["rope_type"] = scaling.kind() == RopeScaling::LINEAR ? "linear" : yarn ? "yarn" : "llama3";
  json["factor"] = scaling.factor();
  if (yarn) {
    json["original_max_position_embeddings"] = scaling.original_context();
    json["beta_fast"] = scaling.beta_fast();
    json["beta_slow"] = scaling.beta_slow();
    json["truncate"] = scaling.truncate();
    if (scaling.attention_factor() > 0.0) json["attention_factor"] = scaling.attention_factor();
  }
  if (scaling.kind() == RopeScaling::LLAMA3) {
    json["low_freq_factor"] = scaling.low_frequency_factor();
    json["high_freq_factor"] = scaling.high_frequency_factor();
    json["original_max_position_embeddings"] = scaling.original_context();
  }
  return json;
}

void write_windows(const ModelConfig& model, const std::string& type, Json& json) {
  const bool windows = model.sliding_window() > 0;
  if (type == "mistral") json["sliding_window"] = model.sliding_window();
  if (type != "qwen2" && type != "qwen3") return;
  json["use_sliding_window"] = windows;
  json["sliding_window"] = windows ? Json(model.sliding_window()) : Json();
  json["max_window_layers"] = windows ? model.full_attention_layers() : model.layers();
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    json["layer_types"].push_back(attention_window(model, layer) > 0 ? "sliding_attention" : "full_attention");
  }
}

void write_llama(const ModelConfig& model, const std::string& type, Json& json) {
  json["hidden_size"] = model.width();
  json["intermediate_size"] = model.mlp_width();
  json["num_hidden_layers"] = model.layers();
  json["num_attention_heads"] = model.heads();
  json["num_key_value_heads"] = model.key_heads();
  json["head_dim"] = model.head_dim();
  json["hidden_act"] = type == "arcee" ? "relu2" : "silu";
  json["max_position_embeddings"] = model.context();
  json["rms_norm_eps"] = model.norm_epsilon();
  json["rope_theta"] = model.rope_theta();
  json["rope_scaling"] = scaling_of(model.rope_scaling());
  json["attention_dropout"] = as_written(model.dropout());
  if (type == "llama" || type == "arcee" || type == "qwen3") json["attention_bias"] = model.qkv_bias();
  if (type == "llama" || type == "arcee") json["mlp_bias"] = model.mlp_bias();
  write_windows(model, type, json);
}

/// What only models of tokens have.
void write_vocabulary(const HuggingfaceModel& description, Json& json) {
  const ModelConfig& model = description.model;
  json["tie_word_embeddings"] = model.tied();
  if (!model.bidirectional()) json["use_cache"] = true;
  json["vocab_size"] = model.vocabulary();
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  if (!description.labels.empty() && !json.contains("pad_token_id")) json["pad_token_id"] = 0;
}

}  // namespace

std::string huggingface_model_type(const ModelConfig& model) {
  if (model.logit_soft_cap() > 0.0f) return "tsugi";
  if (is_bert_like(model)) {
    if (model.family() == ModelConfig::BERT) return "bert";
    if (model.family() == ModelConfig::ELECTRA) return "electra";
    if (model.family() == ModelConfig::ROBERTA) return model.position_offset() > 0 ? "roberta" : "tsugi";
    return model.norm_epsilon() == kDistilbertEpsilon ? "distilbert" : "tsugi";
  }
  if (model.family() == ModelConfig::VIT) return model.pooling() == ModelConfig::CLASS_TOKEN ? "vit" : "tsugi";
  if (has_decoder(model)) return "t5";
  if (model.bidirectional()) return "tsugi";
  if (model.family() == ModelConfig::GPT2) return "gpt2";
  const bool windows = model.sliding_window() > 0;
  const bool same_bias = model.qkv_bias() == model.projection_bias();
  const bool divided = model.head_dim() * model.heads() == model.width();
  if (model.activation() == ModelConfig::RELU_SQUARED) {
    return same_bias && !windows && !model.qk_norm() ? "arcee" : "tsugi";
  }
  if (model.qk_norm()) return same_bias && !model.mlp_bias() ? "qwen3" : "tsugi";
  if (model.qkv_bias() && !model.projection_bias()) return divided && !model.mlp_bias() ? "qwen2" : "tsugi";
  if (!same_bias) return "tsugi";
  if (!windows) return "llama";
  return !model.qkv_bias() && !model.mlp_bias() && model.full_attention_layers() == 0 ? "mistral" : "tsugi";
}

std::string to_huggingface_config(const HuggingfaceModel& description) {
  const ModelConfig& model = description.model;
  const std::string type = huggingface_model_type(model);
  Json json;
  for (const ModelType& known : kWrittenTypes) {
    if (type != known.name) continue;
    const char* language = known.body != nullptr && !model.head_transform() ? known.body : known.language;
    if (type == "bert" && model.head_transform() && model.pooler()) language = "BertForPreTraining";
    if (type == "electra" && model.discriminator()) language = "ElectraForPreTraining";
    json["architectures"] = {description.labels.empty() ? language : known.classifier};
  }
  json["model_type"] = type;
  if (type == "gpt2") {
    write_gpt2(model, json);
  } else if (type == "tsugi") {
    json["tsugi_model"] = to_text(model);
  } else if (type == "distilbert") {
    write_distilbert(model, json);
  } else if (type == "vit") {
    write_vit(model, json);
  } else if (type == "t5") {
    write_t5(model, json);
  } else if (is_bert_like(model)) {
    write_bert(model, type, json);
  } else {
    write_llama(model, type, json);
  }
  json[type == "t5" ? "initializer_factor" : "initializer_range"] = model.init_deviation();
  json["torch_dtype"] = description.dtype;
  if (model.family() != ModelConfig::VIT) write_vocabulary(description, json);
  for (const auto& [field, text] : description.token_ids) json[field] = Json::parse(text);
  for (size_t i = 0; i < description.labels.size(); ++i) {
    json["id2label"][std::to_string(i)] = description.labels[i];
    json["label2id"][description.labels[i]] = i;
  }
  return json.dump(2) + "\n";
}

std::string to_huggingface_tokenizer_config(const ModelConfig& model) {
  Json json;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  json["model_max_length"] = model.context();
  json["clean_up_tokenization_spaces"] = false;
  return json.dump(2) + "\n";
}

}  // namespace tsugi
