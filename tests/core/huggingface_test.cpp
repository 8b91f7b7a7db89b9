// config.json: both spellings, what is refused by name, and that writing and reading are inverse.
#include "core/model/huggingface.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/config/config.h"
#include "core/config/families.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

json llama() {
  return json::parse(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64,
    "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 100, "max_position_embeddings": 128, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    "rope_theta": 500000.0, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "bos_token_id": 1,
    "eos_token_id": [2, 3]})");
}

json gpt2() {
  return json::parse(R"({"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 32,
                         "vocab_size": 50})");
}

HuggingfaceModel read(const json& config) { return parse_huggingface_config(config.dump(), "config.json"); }

std::string refusal(json config, const std::string& field, const json& value) {
  config[field] = value;
  try {
    read(config);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::kData);
    return error.what();
  }
  ADD_FAILURE() << field << " = " << value << " was accepted";
  return "";
}

TEST(HuggingfaceConfig, Llama) {
  const HuggingfaceModel read_model = read(llama());
  const ModelConfig& model = read_model.model;
  EXPECT_EQ(model.family(), ModelConfig::LLAMA);
  EXPECT_EQ(model.key_heads(), 2);
  EXPECT_EQ(model.head_dim(), 16);
  EXPECT_EQ(model.mlp_width(), 96);
  EXPECT_EQ(model.rope_theta(), 500000.0);
  EXPECT_EQ(model.norm_epsilon(), 1e-5);
  EXPECT_TRUE(model.tied());
  EXPECT_FALSE(model.qkv_bias());
  EXPECT_EQ(read_model.dtype, "bfloat16");
  EXPECT_EQ(read_model.token_ids.at("eos_token_id"), "[2,3]");
  EXPECT_FALSE(read_model.token_ids.contains("pad_token_id"));
}

TEST(HuggingfaceConfig, BothSpellings) {
  json old = llama();
  old["rope_scaling"] = {{"type", "llama3"},
                         {"factor", 8.0},
                         {"low_freq_factor", 1.0},
                         {"high_freq_factor", 4.0},
                         {"original_max_position_embeddings", 64}};
  json now = llama();
  now.erase("rope_theta");
  now.erase("torch_dtype");
  now["dtype"] = "bfloat16";
  now["rope_parameters"] = old["rope_scaling"];
  now["rope_parameters"].erase("type");
  now["rope_parameters"]["rope_type"] = "llama3";
  now["rope_parameters"]["rope_theta"] = 500000.0;
  EXPECT_EQ(read(old).model.DebugString(), read(now).model.DebugString());
  EXPECT_EQ(read(old).model.rope_scaling().kind(), RopeScaling::LLAMA3);
  EXPECT_EQ(read(now).model.rope_theta(), 500000.0);
  EXPECT_EQ(read(now).dtype, "bfloat16");
  now["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  EXPECT_THAT(refusal(now, "use_cache", true), HasSubstr("both"));
}

TEST(HuggingfaceConfig, DefaultsAreThoseOfTransformers) {
  json least = llama();
  for (const char* field : {"architectures", "num_key_value_heads", "rms_norm_eps", "hidden_act", "rope_theta",
                            "tie_word_embeddings", "torch_dtype", "bos_token_id", "eos_token_id"}) {
    least.erase(field);
  }
  const ModelConfig model = read(least).model;
  EXPECT_EQ(model.key_heads(), 4);
  EXPECT_EQ(model.norm_epsilon(), 1e-6);
  EXPECT_EQ(model.rope_theta(), 10000.0);
  EXPECT_FALSE(model.tied());
  json qwen = least;
  qwen["model_type"] = "qwen3";
  EXPECT_EQ(read(qwen).model.head_dim(), 128);
  qwen["head_dim"] = 8;
  EXPECT_EQ(read(qwen).model.head_dim(), 8);
  qwen["model_type"] = "qwen2";
  EXPECT_TRUE(read(qwen).model.qkv_bias());
  EXPECT_FALSE(read(qwen).model.projection_bias());
  json mistral = least;
  mistral["model_type"] = "mistral";
  EXPECT_EQ(read(mistral).model.sliding_window(), 4096);
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(read(mistral).model.sliding_window(), 0);
  EXPECT_TRUE(read(gpt2()).model.tied());
  EXPECT_EQ(read(gpt2()).model.mlp_width(), 256);
}

TEST(HuggingfaceConfig, SlidingWindows) {
  json qwen = llama();
  qwen["model_type"] = "qwen2";
  qwen["sliding_window"] = 32;
  EXPECT_EQ(read(qwen).model.sliding_window(), 0) << "use_sliding_window is false by default";
  qwen["use_sliding_window"] = true;
  EXPECT_EQ(read(qwen).model.sliding_window(), 0) << "max_window_layers is 28 by default";
  qwen["max_window_layers"] = 1;
  ModelConfig model = read(qwen).model;
  EXPECT_EQ(model.sliding_window(), 32);
  EXPECT_EQ(attention_window(model, 0), 0);
  EXPECT_EQ(attention_window(model, 1), 32);
  qwen["layer_types"] = {"full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(attention_window(read(qwen).model, 1), 0);
  EXPECT_EQ(attention_window(read(qwen).model, 2), 32);
  qwen["layer_types"] = {"sliding_attention", "full_attention", "sliding_attention"};
  EXPECT_THAT(refusal(qwen, "use_cache", true), HasSubstr("layer_types"));
  qwen["layer_types"] = {"full_attention", "full_attention"};
  EXPECT_THAT(refusal(qwen, "use_cache", true), HasSubstr("2 entries for 3 layers"));
  qwen["layer_types"] = {"full_attention", "chunked_attention", "full_attention"};
  EXPECT_THAT(refusal(qwen, "use_cache", true), HasSubstr("chunked_attention"));
}

TEST(HuggingfaceConfig, WhatTheModelCannotBeIsNamed) {
  EXPECT_THAT(refusal(llama(), "model_type", "gemma"), AllOf(HasSubstr("model_type"), HasSubstr("gemma")));
  EXPECT_THAT(refusal(llama(), "hidden_act", "gelu"), HasSubstr("hidden_act"));
  EXPECT_THAT(refusal(llama(), "rope_scaling", {{"rope_type", "dynamic"}, {"factor", 4.0}}), HasSubstr("dynamic"));
  EXPECT_THAT(refusal(llama(), "rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}, {"beta_slow", 33.0}}),
              HasSubstr("beta_slow"));
  EXPECT_THAT(refusal(llama(), "rope_scaling", {{"rope_type", "linear"}}), HasSubstr("factor"));
  EXPECT_THAT(refusal(llama(), "rope_scaling", {{"rope_type", "linear"}, {"factor", -1.0}}), HasSubstr("factor"));
  EXPECT_THAT(refusal(llama(), "rope_scaling", 3), HasSubstr("rope_scaling"));
  EXPECT_THAT(refusal(llama(), "rope_theta", 0.0), HasSubstr("rope_theta"));
  EXPECT_THAT(refusal(llama(), "partial_rotary_factor", 0.5), HasSubstr("partial_rotary_factor"));
  EXPECT_THAT(refusal(llama(), "quantization_config", json::object()), HasSubstr("quantization_config"));
  EXPECT_THAT(refusal(llama(), "num_key_value_heads", 3), HasSubstr("key_heads"));
  EXPECT_THAT(refusal(llama(), "num_attention_heads", 7), HasSubstr("heads"));
  EXPECT_THAT(refusal(llama(), "head_dim", 5), HasSubstr("head_dim"));
  EXPECT_THAT(refusal(llama(), "rms_norm_eps", 0.0), HasSubstr("norm_epsilon"));
  EXPECT_THAT(refusal(llama(), "architectures", {"LlamaForQuestionAnswering"}), HasSubstr("architectures"));
  EXPECT_THAT(refusal(llama(), "eos_token_id", "two"), HasSubstr("eos_token_id"));
  EXPECT_THAT(refusal(llama(), "tie_word_embeddings", 1), HasSubstr("tie_word_embeddings"));
  for (const char* field : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                            "max_position_embeddings", "intermediate_size"}) {
    for (const json& value : {json(0), json(-1), json(1e30), json("64"), json(64.0), json(int64_t{1} << 40)}) {
      EXPECT_THAT(refusal(llama(), field, value), HasSubstr(field));
    }
  }
  EXPECT_THAT(refusal(gpt2(), "activation_function", "tanh"), HasSubstr("activation_function"));
  EXPECT_THAT(refusal(gpt2(), "scale_attn_by_inverse_layer_idx", true), HasSubstr("scale_attn_by_inverse_layer_idx"));
  EXPECT_THAT(refusal(gpt2(), "scale_attn_weights", false), HasSubstr("scale_attn_weights"));
  EXPECT_THAT(refusal(gpt2(), "add_cross_attention", true), HasSubstr("add_cross_attention"));
  EXPECT_THAT(refusal(gpt2(), "n_embd", 66), HasSubstr("heads"));
  EXPECT_THROW(parse_huggingface_config("{}", "config.json"), Error);
  EXPECT_THROW(parse_huggingface_config("[]", "config.json"), Error);
  EXPECT_THROW(parse_huggingface_config("{\"model_type\": \"tsugi\", \"tsugi_model\": \"layers: 0\"}", "config.json"),
               Error);
}

TEST(HuggingfaceConfig, TheTypeFollowsFromWhatTheModelIs) {
  const auto type_of = [](const std::string& text) {
    HuggingfaceModel description;
    ModelConfig& model = description.model;
    parse_config("layers: 4 heads: 4 width: 64 context: 64 vocabulary: 50 dropout: 0.25 " + text, "test", {}, model);
    resolve_family(model);
    EXPECT_TRUE(model_complaints(model).empty()) << text;
    const std::string written = to_huggingface_config(description);
    const HuggingfaceModel again = parse_huggingface_config(written, "written");
    ModelConfig back = again.model;
    if (back.family() != model.family()) back.set_family(model.family());  // the same model as another preset
    EXPECT_EQ(back.DebugString(), model.DebugString()) << text;
    return huggingface_model_type(model);
  };
  EXPECT_EQ(type_of(""), "gpt2");
  EXPECT_EQ(type_of("activation: RELU_SQUARED tied: false mlp_width: 100"), "gpt2");
  EXPECT_EQ(type_of("family: LLAMA"), "llama");
  EXPECT_EQ(type_of("family: LLAMA qkv_bias: true projection_bias: true head_dim: 4"), "llama");
  EXPECT_EQ(type_of("family: LLAMA qkv_bias: true"), "qwen2");
  EXPECT_EQ(type_of("family: LLAMA sliding_window: 8"), "mistral");
  EXPECT_EQ(type_of("family: LLAMA activation: RELU_SQUARED mlp_bias: true"), "arcee");
  EXPECT_EQ(type_of("family: QWEN2 sliding_window: 8 full_attention_layers: 2"), "qwen2");
  EXPECT_EQ(type_of("family: QWEN3 sliding_window: 8 rope_scaling { kind: LLAMA3 factor: 2 }"), "qwen3");
  EXPECT_EQ(type_of("family: QWEN2 qk_norm: true qkv_bias: false"), "qwen3");
  // What transformers has no name for.
  EXPECT_EQ(type_of("logit_soft_cap: 30"), "tsugi");
  EXPECT_EQ(type_of("family: LLAMA sliding_window: 8 full_attention_layers: 1"), "tsugi");
  EXPECT_EQ(type_of("family: QWEN2 head_dim: 8"), "tsugi");
  EXPECT_EQ(type_of("family: QWEN3 qkv_bias: true"), "tsugi");
}

TEST(HuggingfaceConfig, NumbersAreWrittenAsTheyWereMeant) {
  for (json config : {gpt2(), llama()}) {
    config["resid_pdrop"] = config["attention_dropout"] = 0.1;
    config["rms_norm_eps"] = config["layer_norm_epsilon"] = 1e-6;
    const json written = json::parse(to_huggingface_config(read(config)));
    const bool is_gpt2 = config["model_type"] == "gpt2";
    EXPECT_EQ(written.at(is_gpt2 ? "resid_pdrop" : "attention_dropout"), 0.1);
    EXPECT_EQ(written.at(is_gpt2 ? "layer_norm_epsilon" : "rms_norm_eps"), 1e-6);
  }
}

TEST(HuggingfaceConfig, Classifiers) {
  HuggingfaceModel description = read(llama());
  description.labels = {"no", "yes"};
  const std::string text = to_huggingface_config(description);
  EXPECT_THAT(text, HasSubstr("LlamaForSequenceClassification"));
  EXPECT_EQ(parse_huggingface_config(text, "written").labels, description.labels);
}

}  // namespace
}  // namespace tsugi
