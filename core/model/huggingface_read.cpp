#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/checkpoint/adapter_folder.h"
#include "core/config/config.h"
#include "core/config/families.h"
#include "core/config/schema.h"
#include "core/data/file.h"
#include "core/data/json.h"
#include "core/model/huggingface.h"

namespace tsugi {
namespace {

constexpr int64_t kMaxModelConfigBytes = 64 << 20;
constexpr int64_t kMaxModelVocabulary = 2'000'000'000;
constexpr int64_t kMaxPositions = 1048576;

[[noreturn]] void refuse(const JsonValue& json, const std::string& field, const std::string& value,
                         const std::string& known) {
  throw json.error("\"" + field + "\" is " + value.substr(0, 200) + ", which this model cannot be; it can be " + known);
}

/// An enumerated string: the value of the pair that it names; absent: the first pair's.
template <class T>
T one_of(const JsonValue& json, const std::string& field, const std::vector<std::pair<std::string, T>>& known) {
  const std::string value = json.string_or(field, known.front().first);
  std::vector<std::string> names;
  for (const auto& [name, meaning] : known) {
    if (value == name) return meaning;
    names.push_back(name);
  }
  refuse(json, field, "\"" + value + "\"", join(names));
}

/// A flag that must be as this model has it.
void require_flag(const JsonValue& json, const std::string& field, bool value, bool otherwise) {
  if (json.bool_or(field, otherwise) != value) {
    refuse(json, field, value ? "false" : "true", value ? "true" : "false");
  }
}

/// What would change the model whatever its type.
void refuse_foreign(const JsonValue& json, bool encoder_decoder) {
  if (json.has("quantization_config")) {
    throw json.error("\"quantization_config\": quantised weights are not read", "take the model's unquantised files");
  }
  require_flag(json, "is_encoder_decoder", encoder_decoder, encoder_decoder);
  require_flag(json, "add_cross_attention", false, false);
  if (json.has("pruned_heads") && json.require_object("pruned_heads").size() > 0) {
    throw json.error("\"pruned_heads\" is not empty, which this model cannot be");
  }
  if (json.double_or("partial_rotary_factor", 1.0) != 1.0) {
    throw json.error("\"partial_rotary_factor\" is not 1: only whole heads are turned");
  }
}

void read_gpt2(const JsonValue& json, ModelConfig& model) {
  model.set_family(ModelConfig::GPT2);
  model.set_layers(static_cast<int32_t>(json.require_int("n_layer", 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("n_head", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("n_embd", 1, 65536)));
  model.set_context(static_cast<int32_t>(json.require_int("n_positions", 1, kMaxPositions)));
  model.set_dropout(static_cast<float>(json.double_or("resid_pdrop", 0.1)));
  model.set_norm_epsilon(json.double_or("layer_norm_epsilon", 1e-5));
  model.set_mlp_width(static_cast<int32_t>(json.int_or("n_inner", 4 * int64_t{model.width()}, 1, 1048576)));
  model.set_activation(one_of<ModelConfig::Activation>(json, "activation_function",
                                                       {{"gelu_new", ModelConfig::GELU_TANH},
                                                        {"gelu_pytorch_tanh", ModelConfig::GELU_TANH},
                                                        {"gelu", ModelConfig::GELU_ERF},
                                                        {"relu2", ModelConfig::RELU_SQUARED}}));
  model.set_tied(json.bool_or("tie_word_embeddings", true));
  require_flag(json, "scale_attn_weights", true, true);
  require_flag(json, "scale_attn_by_inverse_layer_idx", false, false);
}

/// transformers' _compute_yarn_parameters: what is absent, null or 0 there is its default.
void read_yarn(const JsonValue& json, int32_t context, RopeScaling& ours) {
  const auto positive = [&](const char* field, double otherwise) {
    const double value = json.double_or(field, otherwise);
    return value == 0.0 ? otherwise : value;
  };
  ours.set_factor(json.double_or("factor", static_cast<double>(context) / ours.original_context()));
  ours.set_beta_fast(positive("beta_fast", 32.0));
  ours.set_beta_slow(positive("beta_slow", 1.0));
  ours.set_truncate(json.bool_or("truncate", true));
  const double factor = ours.factor();
  const auto scale = [&](double m) { return factor <= 1.0 ? 1.0 : 0.1 * m * std::log(factor) + 1.0; };
  const double m = json.double_or("mscale", 0.0);
  const double of_all = json.double_or("mscale_all_dim", 0.0);
  // 0: by the paper's formula.
  ours.set_attention_factor(
      json.double_or("attention_factor", m != 0.0 && of_all != 0.0 ? scale(m) / scale(of_all) : 0.0));
}

/// The frequencies: rope_theta and rope_scaling of transformers 4, rope_parameters of 5.
void read_rope(const JsonValue& json, ModelConfig& model) {
  if (json.has("rope_scaling") && json.has("rope_parameters")) {
    throw json.error("has both \"rope_scaling\" and \"rope_parameters\"", "keep one of them");
  }
  std::optional<JsonValue> scaling;
  for (const char* field : {"rope_scaling", "rope_parameters"}) {
    if (json.has(field)) scaling = json.require_object(field);
  }
  model.set_rope_theta(json.double_or("rope_theta", 10000.0));
  if (!scaling) return;
  model.set_rope_theta(scaling->double_or("rope_theta", model.rope_theta()));
  if (scaling->double_or("partial_rotary_factor", 1.0) != 1.0) {
    throw scaling->error("\"partial_rotary_factor\" is not 1: only whole heads are turned");
  }
  const std::string key = scaling->has("rope_type") ? "rope_type" : "type";
  const RopeScaling::Kind kind = one_of<RopeScaling::Kind>(*scaling, key,
                                                           {{"default", RopeScaling::NONE},
                                                            {"linear", RopeScaling::LINEAR},
                                                            {"llama3", RopeScaling::LLAMA3},
                                                            {"yarn", RopeScaling::YARN}});
  RopeScaling& ours = *model.mutable_rope_scaling();
  ours.set_kind(kind);
  if (kind == RopeScaling::NONE) return;
  const auto original = [&] {
    return static_cast<int32_t>(scaling->int_or("original_max_position_embeddings", model.context(), 1, kMaxPositions));
  };
  if (kind == RopeScaling::YARN) {
    ours.set_original_context(original());
    read_yarn(*scaling, model.context(), ours);
    return;
  }
  ours.set_factor(scaling->require_double("factor"));
  if (kind != RopeScaling::LLAMA3) return;
  ours.set_low_frequency_factor(scaling->require_double("low_freq_factor"));
  ours.set_high_frequency_factor(scaling->require_double("high_freq_factor"));
  ours.set_original_context(original());
}

/// Which layers of a Qwen see a window only: "layer_types" if it is there, else the last ones from max_window_layers.
void read_qwen_windows(const JsonValue& json, ModelConfig& model) {
  const bool windows = json.bool_or("use_sliding_window", false) &&
                       (json.has("sliding_window") || json.raw().find("sliding_window") == json.raw().end());
  const int64_t window = windows ? json.int_or("sliding_window", 4096, 1, kMaxPositions) : 0;
  int64_t full = model.layers();
  if (windows) full = std::min<int64_t>(json.int_or("max_window_layers", 28, 0, 1'000'000), model.layers());
  if (json.has("layer_types")) {
    const std::vector<JsonValue> types = json.require_array("layer_types").elements();
    if (static_cast<int64_t>(types.size()) != model.layers()) {
      throw json.error("\"layer_types\" has " + std::to_string(types.size()) + " entries for " +
                       std::to_string(model.layers()) + " layers");
    }
    full = 0;
    for (size_t i = 0; i < types.size(); ++i) {
      const std::string type = types[i].as_string();
      if (type != "full_attention" && type != "sliding_attention") {
        throw types[i].error("\"" + type.substr(0, 80) + "\" is no kind of attention that this model has");
      }
      if (type != "full_attention") continue;
      if (full != static_cast<int64_t>(i)) {
        throw json.error("\"layer_types\": full attention above a sliding window is not built");
      }
      ++full;
    }
    if (full < model.layers() && !windows) {
      throw json.error("\"layer_types\" has sliding attention, but \"use_sliding_window\" is false");
    }
  }
  if (full == model.layers()) return;  // no layer looks through the window
  model.set_sliding_window(static_cast<int32_t>(window));
  model.set_full_attention_layers(static_cast<int32_t>(full));
}

void read_llama(const JsonValue& json, const std::string& type, ModelConfig& model) {
  const bool qwen = type == "qwen2" || type == "qwen3";
  model.set_family(type == "qwen2" ? ModelConfig::QWEN2 : type == "qwen3" ? ModelConfig::QWEN3 : ModelConfig::LLAMA);
  model.set_layers(static_cast<int32_t>(json.require_int("num_hidden_layers", 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("num_attention_heads", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("hidden_size", 1, 65536)));
  model.set_context(static_cast<int32_t>(json.require_int("max_position_embeddings", 1, kMaxPositions)));
  model.set_mlp_width(static_cast<int32_t>(json.require_int("intermediate_size", 1, 1048576)));
  model.set_key_heads(static_cast<int32_t>(json.int_or("num_key_value_heads", model.heads(), 1, 1024)));
  const int64_t divided = std::max(model.width() / model.heads(), 1);
  model.set_head_dim(static_cast<int32_t>(json.int_or("head_dim", type == "qwen3" ? 128 : divided, 1, 65536)));
  model.set_dropout(static_cast<float>(json.double_or("attention_dropout", 0.0)));
  model.set_norm_epsilon(json.double_or("rms_norm_eps", 1e-6));
  model.set_tied(json.bool_or("tie_word_embeddings", false));
  model.set_activation(type == "arcee"
                           ? one_of<ModelConfig::Activation>(json, "hidden_act", {{"relu2", ModelConfig::RELU_SQUARED}})
                           : one_of<ModelConfig::Activation>(
                                 json, "hidden_act", {{"silu", ModelConfig::SWIGLU}, {"swish", ModelConfig::SWIGLU}}));
  const bool attention_bias = type != "qwen2" && type != "mistral" && json.bool_or("attention_bias", false);
  model.set_qkv_bias(type == "qwen2" || attention_bias);
  model.set_projection_bias(attention_bias);
  model.set_mlp_bias((type == "llama" || type == "arcee") && json.bool_or("mlp_bias", false));
  model.set_qk_norm(type == "qwen3");
  read_rope(json, model);
  if (qwen) read_qwen_windows(json, model);
  // Absent, it is mistral's default; null, there is none.
  const bool written = json.raw().find("sliding_window") != json.raw().end();
  if (type == "mistral" && (json.has("sliding_window") || !written)) {
    model.set_sliding_window(static_cast<int32_t>(json.int_or("sliding_window", 4096, 1, kMaxPositions)));
  }
}

const std::vector<std::pair<std::string, ModelConfig::Activation>> kBertActivations{
    {"gelu", ModelConfig::GELU_ERF},
    {"gelu_new", ModelConfig::GELU_TANH},
    {"gelu_pytorch_tanh", ModelConfig::GELU_TANH},
    {"relu2", ModelConfig::RELU_SQUARED}};

void read_bert(const JsonValue& json, const std::string& type, ModelConfig& model) {
  const bool roberta = type == "roberta";
  model.set_family(roberta ? ModelConfig::ROBERTA : type == "electra" ? ModelConfig::ELECTRA : ModelConfig::BERT);
  model.set_layers(static_cast<int32_t>(json.require_int("num_hidden_layers", 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("num_attention_heads", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("hidden_size", 1, 65536)));
  model.set_mlp_width(static_cast<int32_t>(json.require_int("intermediate_size", 1, 1048576)));
  // transformers counts RoBERTa's positions from the padding token's id + 1.
  const int64_t offset = roberta ? json.int_or("pad_token_id", 1, 0, 1000) + 1 : 0;
  model.set_position_offset(static_cast<int32_t>(offset));
  model.set_context(
      static_cast<int32_t>(json.require_int("max_position_embeddings", offset + 1, kMaxPositions) - offset));
  model.set_segments(static_cast<int32_t>(json.int_or("type_vocab_size", 2, 1, 65536)));
  model.set_dropout(static_cast<float>(json.double_or("hidden_dropout_prob", 0.1)));
  model.set_norm_epsilon(json.double_or("layer_norm_eps", 1e-12));
  model.set_activation(one_of(json, "hidden_act", kBertActivations));
  if (json.string_or("position_embedding_type", "absolute") != "absolute") {
    refuse(json, "position_embedding_type", "\"" + json.require_string("position_embedding_type") + "\"", "absolute");
  }
  require_flag(json, "is_decoder", false, false);
  require_flag(json, "tie_word_embeddings", true, true);
  if (type != "electra") return;
  // transformers' default where the file says nothing.
  const int64_t embedded = json.int_or("embedding_size", 128, 1, 65536);
  if (embedded != model.width()) refuse(json, "embedding_size", std::to_string(embedded), "\"hidden_size\"");
}

void read_distilbert(const JsonValue& json, ModelConfig& model) {
  model.set_family(ModelConfig::DISTILBERT);
  model.set_layers(static_cast<int32_t>(json.require_int("n_layers", 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("n_heads", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("dim", 1, 65536)));
  model.set_mlp_width(static_cast<int32_t>(json.require_int("hidden_dim", 1, 1048576)));
  model.set_context(static_cast<int32_t>(json.require_int("max_position_embeddings", 1, kMaxPositions)));
  model.set_dropout(static_cast<float>(json.double_or("dropout", 0.1)));
  model.set_activation(one_of(json, "activation", kBertActivations));
  require_flag(json, "tie_word_embeddings", true, true);
}

void read_vit(const JsonValue& json, ModelConfig& model) {
  model.set_family(ModelConfig::VIT);
  model.set_layers(static_cast<int32_t>(json.require_int("num_hidden_layers", 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("num_attention_heads", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("hidden_size", 1, 65536)));
  model.set_mlp_width(static_cast<int32_t>(json.require_int("intermediate_size", 1, 1048576)));
  model.set_image_size(static_cast<int32_t>(json.require_int("image_size", 1, 16384)));
  model.set_patch_size(static_cast<int32_t>(json.require_int("patch_size", 1, 16384)));
  model.set_image_channels(static_cast<int32_t>(json.int_or("num_channels", 3, 1, 3)));
  model.set_dropout(static_cast<float>(json.double_or("hidden_dropout_prob", 0.0)));
  model.set_norm_epsilon(json.double_or("layer_norm_eps", 1e-12));
  model.set_activation(one_of(json, "hidden_act", kBertActivations));
  require_flag(json, "qkv_bias", true, true);
}

void read_t5(const JsonValue& json, ModelConfig& model) {
  model.set_family(ModelConfig::T5);
  model.set_layers(static_cast<int32_t>(json.require_int("num_layers", 1, 1024)));
  model.set_decoder_layers(static_cast<int32_t>(json.int_or("num_decoder_layers", model.layers(), 1, 1024)));
  model.set_heads(static_cast<int32_t>(json.require_int("num_heads", 1, 1024)));
  model.set_width(static_cast<int32_t>(json.require_int("d_model", 1, 65536)));
  model.set_head_dim(static_cast<int32_t>(json.require_int("d_kv", 1, 65536)));
  model.set_mlp_width(static_cast<int32_t>(json.require_int("d_ff", 1, 1048576)));
  // Nothing in the weights depends on it.
  model.set_context(static_cast<int32_t>(json.int_or("n_positions", 512, 1, kMaxPositions)));
  model.set_relative_buckets(static_cast<int32_t>(json.int_or("relative_attention_num_buckets", 32, 1, 65536)));
  model.set_relative_distance(
      static_cast<int32_t>(json.int_or("relative_attention_max_distance", 128, 1, kMaxPositions)));
  model.set_dropout(static_cast<float>(json.double_or("dropout_rate", 0.1)));
  model.set_norm_epsilon(json.double_or("layer_norm_epsilon", 1e-6));
  model.set_activation(one_of<ModelConfig::Activation>(
      json, "feed_forward_proj", {{"relu", ModelConfig::RELU}, {"gated-gelu", ModelConfig::GATED_GELU}}));
  model.set_tied(json.bool_or("tie_word_embeddings", true));
  // transformers 4 knows the first only; 5 writes both.
  model.set_scale_outputs(json.bool_or("scale_decoder_outputs", model.tied()));
  model.set_decoder_start_token(
      static_cast<int32_t>(json.int_or("decoder_start_token_id", 0, 0, kMaxModelVocabulary - 1)));
  require_flag(json, "is_decoder", false, false);
}

/// Which heads an encoder's folder has: its class says so.
void read_bert_heads(const JsonValue& json, ModelConfig& model) {
  if (!json.has("architectures")) return;
  for (const JsonValue& one : json.require_array("architectures").elements()) {
    const std::string name = one.as_string();
    const bool body = name == "BertModel" || name == "RobertaModel" || name == "DistilBertModel";
    if (body) model.set_head_transform(false);
    if (name == "ElectraForMaskedLM") model.set_head_transform(true);
    if (name == "ElectraModel") model.set_discriminator(false);
    if (name == "BertForPreTraining") model.set_next_sentence_head(true);
    if (name == "BertForPreTraining" || (body && model.family() != ModelConfig::DISTILBERT)) model.set_pooler(true);
  }
}

void read_own(const JsonValue& json, ModelConfig& model) {
  try {
    parse_config(json.require_string("tsugi_model"), "tsugi_model", {}, model);
  } catch (const Error& error) {
    throw json.error(error.what(), error.hint());
  }
}

/// Checks "architectures"; true: of a sequence classifier.
bool is_classifier(const JsonValue& json, bool encoder) {
  if (!json.has("architectures")) return false;
  bool classifier = false;
  for (const JsonValue& one : json.require_array("architectures").elements()) {
    const std::string name = one.as_string();
    if (name.ends_with("ForSequenceClassification") || name.ends_with("ForImageClassification")) {
      classifier = true;
    } else if (encoder && (name.ends_with("ForMaskedLM") || name.ends_with("ForPreTraining"))) {
      continue;
    } else if (name == "T5ForConditionalGeneration" || name == "T5WithLMHeadModel") {  // the latter is its old name
      continue;
    } else if (!name.ends_with("ForCausalLM") && !name.ends_with("LMHeadModel") && !name.ends_with("Model")) {
      throw one.error("\"" + name.substr(0, 80) + "\" is not built: language models and sequence classifiers are");
    }
  }
  return classifier;
}

std::vector<std::string> read_labels(const JsonValue& json) {
  std::vector<std::string> labels;
  if (!json.has("id2label")) return {"LABEL_0", "LABEL_1"};  // as transformers has it when nothing is said
  const JsonValue names = json.require_object("id2label");
  for (int64_t i = 0; i < names.size(); ++i) labels.push_back(names.require_string(std::to_string(i)));
  return labels;
}

void read_token_ids(const JsonValue& json, HuggingfaceModel& result) {
  for (const char* field : {"bos_token_id", "eos_token_id", "pad_token_id", "mask_token_id", "cls_token_id",
                            "sep_token_id", kFirstSentinelField}) {
    if (!json.has(field)) continue;
    const JsonValue value = json.require(field);
    if (value.is_array()) {
      for (const JsonValue& one : value.elements()) one.as_int();
    } else {
      value.as_int();
    }
    result.token_ids[field] = value.raw().dump();
  }
}

}  // namespace

HuggingfaceModel parse_huggingface_config(const std::string& text, const std::string& origin) {
  const JsonValue json = parse_json(text, origin);
  HuggingfaceModel result;
  ModelConfig& model = result.model;
  const std::string type = json.require_string("model_type");
  // A folder of ours says itself what it is.
  refuse_foreign(json, type == "t5" || (type == "tsugi" && json.bool_or("is_encoder_decoder", false)));
  if (type == "gpt2") {
    read_gpt2(json, model);
  } else if (type == "tsugi") {
    read_own(json, model);
  } else if (type == "llama" || type == "mistral" || type == "arcee" || type == "qwen2" || type == "qwen3") {
    read_llama(json, type, model);
  } else if (type == "bert" || type == "roberta" || type == "electra") {
    read_bert(json, type, model);
  } else if (type == "distilbert") {
    read_distilbert(json, model);
  } else if (type == "vit") {
    read_vit(json, model);
  } else if (type == "t5") {
    read_t5(json, model);
  } else {
    refuse(json, "model_type", "\"" + type + "\"",
           "gpt2, llama, mistral, arcee, qwen2, qwen3, bert, roberta, distilbert, electra, vit, t5");
  }
  if (is_bert_like(model)) read_bert_heads(json, model);
  if (model.family() != ModelConfig::VIT) {
    model.set_vocabulary(json.require_int("vocab_size", 1, kMaxModelVocabulary));
  }
  const bool factor = type == "t5";
  model.set_init_deviation(json.double_or(factor ? "initializer_factor" : "initializer_range", factor ? 1.0 : 0.02));
  resolve_family(model);
  const std::vector<std::string> complaints = model_complaints(model);
  if (!complaints.empty()) throw json.error(join(complaints, "; "));
  try {  // ranges as the schema states them
    ModelConfig checked;
    parse_config(to_text(model), "config.json", {}, checked);
  } catch (const Error& error) {
    throw json.error(error.what());
  }
  if (is_classifier(json, model.bidirectional())) result.labels = read_labels(json);
  read_token_ids(json, result);
  result.dtype = json.string_or("torch_dtype", json.string_or("dtype", "float32"));
  return result;
}

HuggingfaceModel load_huggingface_config(const std::string& folder) {
  const std::string path = folder + "/config.json";
  HuggingfaceModel result = parse_huggingface_config(read_file(path, kMaxModelConfigBytes), path);
  result.adapter = bottlenecks_of(folder);
  return result;
}

}  // namespace tsugi
