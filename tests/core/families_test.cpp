// Presets of families: published parameter counts, what a file may override, and what is refused.
#include "core/config/families.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/config/config.h"
#include "core/model/transformer.h"
#include "core/scaling/flops.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

using ::testing::HasSubstr;

ModelConfig model_of(const std::string& text) {
  ModelConfig model;
  parse_config(text, "test", {}, model);
  resolve_family(model);
  const std::vector<std::string> complaints = model_complaints(model);
  EXPECT_TRUE(complaints.empty()) << (complaints.empty() ? "" : complaints.front());
  return model;
}

int64_t declared(const ModelConfig& model) {
  ParameterStore store;
  const Transformer transformer(model, store);
  return store.parameters();
}

TEST(Families, PublishedGpt2Sizes) {
  const auto size = [](int layers, int heads, int width) {
    const ModelConfig model = model_of("layers: " + std::to_string(layers) + " heads: " + std::to_string(heads) +
                                       " width: " + std::to_string(width) + " context: 1024 vocabulary: 50257");
    EXPECT_EQ(count_parameters(model).total, declared(model));
    return declared(model);
  };
  EXPECT_EQ(size(12, 12, 768), 124439808);
  EXPECT_EQ(size(24, 16, 1024), 354823168);
  EXPECT_EQ(size(36, 20, 1280), 774030080);
  EXPECT_EQ(size(48, 25, 1600), 1557611200);
}

TEST(Families, PublishedEncoderSizes) {
  const auto size = [](const std::string& text) {
    const ModelConfig model = model_of(text);
    EXPECT_EQ(count_parameters(model).total, declared(model)) << text;
    return declared(model);
  };
  const std::string base = " layers: 12 heads: 12 width: 768 context: 512 ";
  const std::string large = " layers: 24 heads: 16 width: 1024 context: 512 ";
  const std::string body = " head_transform: false pooler: true ";
  // BertModel, RobertaModel (with the pooler), DistilBertModel.
  EXPECT_EQ(size("family: BERT vocabulary: 30522" + base + body), 109482240);
  EXPECT_EQ(size("family: BERT vocabulary: 30522" + large + body), 335141888);
  EXPECT_EQ(size("family: BERT vocabulary: 30522 layers: 2 heads: 2 width: 128 context: 512" + body), 4385920);
  EXPECT_EQ(size("family: ROBERTA vocabulary: 50265" + base + body), 124645632);
  EXPECT_EQ(size("family: ROBERTA vocabulary: 50265" + large + body), 355359744);
  EXPECT_EQ(size("family: DISTILBERT vocabulary: 30522 layers: 6 heads: 12 width: 768 context: 512 "
                 "head_transform: false"),
            66362880);
  // BertForPreTraining, with 2·768 + 2 for whether the second segment follows the first, and without.
  EXPECT_EQ(size("family: BERT vocabulary: 30522 pooler: true next_sentence_head: true" + base), 110106428);
  EXPECT_EQ(size("family: BERT vocabulary: 30522 pooler: true" + base), 110106428 - 1538);
}

TEST(Families, CountingIsWhatIsDeclared) {
  for (const char* text :
       {"family: GPT2 mlp_width: 100 tied: false", "family: LLAMA", "family: LLAMA tied: true",
        "family: LLAMA key_heads: 2 qkv_bias: true projection_bias: true mlp_bias: true head_dim: 10",
        "family: LLAMA activation: RELU_SQUARED mlp_bias: true", "family: QWEN2 key_heads: 1 tied: false",
        "family: QWEN3 key_heads: 2", "family: QWEN3 qkv_bias: true projection_bias: true", "family: BERT pooler: true",
        "family: ROBERTA head_transform: false", "family: DISTILBERT mlp_width: 20",
        "family: LLAMA bidirectional: true"}) {
    SCOPED_TRACE(text);
    const ModelConfig model = model_of(std::string("layers: 3 heads: 4 width: 48 context: 32 vocabulary: 71 ") + text);
    EXPECT_EQ(count_parameters(model).total, declared(model));
  }
}

TEST(Families, FlopsCountAttentionAndProducts) {
  // Worked by hand: width 8, 4 heads of 2, 2 key heads, MLP of 12, vocabulary 10, one layer, untied.
  const std::string text =
      "family: LLAMA layers: 1 heads: 4 key_heads: 2 width: 8 mlp_width: 12 context: 64 vocabulary: 10";
  const ModelConfig model = model_of(text);
  const int64_t products = 8 * (8 + 4 + 4) + 8 * 8 + 3 * 8 * 12 + 2 * 8 + 8 + 10 * 8;
  EXPECT_EQ(count_parameters(model).in_products, products);
  EXPECT_EQ(count_parameters(model).total, products + 80);
  const FlopsPerToken flops = flops_per_token(model, 32);
  EXPECT_DOUBLE_EQ(flops.palm, 6.0 * static_cast<double>(products) + 12.0 * 8 * 32);
  EXPECT_DOUBLE_EQ(flops.causal, 6.0 * static_cast<double>(products) + 6.0 * 8 * 32);
  // A window of 8: 8 keys, on average 8 - 8²/64 = 7.
  const FlopsPerToken windowed = flops_per_token(model_of(text + " sliding_window: 8"), 32);
  EXPECT_DOUBLE_EQ(windowed.palm, 6.0 * static_cast<double>(products) + 12.0 * 8 * 8);
  EXPECT_DOUBLE_EQ(windowed.causal, 6.0 * static_cast<double>(products) + 12.0 * 8 * 7);
  // An encoder sees all keys; a quarter of its tokens are scored.
  const FlopsPerToken encoder = flops_per_token(model_of(text + " bidirectional: true"), 32, 0.25);
  EXPECT_DOUBLE_EQ(encoder.palm, 6.0 * (static_cast<double>(products) - 0.75 * 80) + 12.0 * 8 * 32);
  EXPECT_DOUBLE_EQ(encoder.causal, encoder.palm);
}

TEST(Families, PresetsAreThePublishedOnes) {
  const ModelConfig llama = model_of("family: LLAMA layers: 2 heads: 32 width: 4096 context: 64 vocabulary: 9");
  EXPECT_EQ(llama.mlp_width(), 11008);
  EXPECT_EQ(llama.norm_epsilon(), 1e-5);
  EXPECT_EQ(llama.rope_theta(), 10000.0);
  EXPECT_FALSE(llama.tied());
  const ModelConfig qwen = model_of("family: QWEN3 layers: 2 heads: 5 width: 64 context: 64 vocabulary: 9");
  EXPECT_EQ(qwen.head_dim(), 128);
  EXPECT_TRUE(qwen.qk_norm());
  EXPECT_EQ(qwen.norm_epsilon(), 1e-6);
  // "initializer_range" of every published config.json; GPT-2 alone divides its residual projections.
  for (const char* family : {"GPT2", "LLAMA", "QWEN2", "QWEN3", "BERT", "ROBERTA", "DISTILBERT", "VIT"}) {
    ModelConfig any;
    parse_config(std::string("layers: 2 heads: 4 width: 64 context: 16 family: ") + family, "test", {}, any);
    resolve_family(any);
    EXPECT_EQ(any.init_deviation(), 0.02) << family;
    EXPECT_EQ(any.init_scales_residual(), std::string(family) == "GPT2") << family;
  }
  // What is written wins, and resolving again changes nothing.
  ModelConfig model = model_of("family: QWEN2 layers: 2 heads: 4 width: 64 context: 64 tied: false norm_epsilon: 1e-4");
  EXPECT_FALSE(model.tied());
  EXPECT_EQ(model.norm_epsilon(), 1e-4);
  const std::string once = to_text(model);
  resolve_family(model);
  EXPECT_EQ(to_text(model), once);
}

std::string complaint(const std::string& text) {
  ModelConfig model;
  parse_config("layers: 4 heads: 4 width: 64 context: 64 " + text, "test", {}, model);
  resolve_family(model);
  std::string all;
  for (const std::string& one : model_complaints(model)) all += one + "\n";
  return all;
}

TEST(Families, WhatIsNotBuiltIsNamed) {
  EXPECT_EQ(complaint("family: LLAMA"), "");
  EXPECT_EQ(complaint("family: BERT"), "");
  EXPECT_EQ(complaint("bidirectional: true"), "");
  EXPECT_THAT(complaint("family: BERT bidirectional: false"),
              HasSubstr("model.bidirectional must be true in family BERT"));
  EXPECT_THAT(complaint("family: BERT post_norm: false"), HasSubstr("model.post_norm"));
  EXPECT_THAT(complaint("family: BERT segments: 0"), HasSubstr("model.segments"));
  EXPECT_THAT(complaint("family: BERT position_offset: 2"), HasSubstr("model.position_offset"));
  EXPECT_THAT(complaint("family: BERT tied: false"), HasSubstr("model.tied"));
  EXPECT_THAT(complaint("family: BERT norm: RMS_NORM"), HasSubstr("model.norm"));
  EXPECT_THAT(complaint("family: ROBERTA activation: GELU_TANH"), HasSubstr("model.activation"));
  EXPECT_THAT(complaint("family: DISTILBERT segments: 2"), HasSubstr("model.segments"));
  EXPECT_THAT(complaint("family: DISTILBERT pooler: true"), HasSubstr("model.pooler"));
  EXPECT_THAT(complaint("family: LLAMA head_transform: true"), HasSubstr("model.head_transform"));
  EXPECT_THAT(complaint("post_norm: true"), HasSubstr("model.post_norm must be false in family GPT2"));
  EXPECT_THAT(complaint("norm: RMS_NORM"), HasSubstr("model.norm must be LAYER_NORM in family GPT2"));
  EXPECT_THAT(complaint("key_heads: 2"), HasSubstr("model.key_heads"));
  EXPECT_THAT(complaint("position: ROTARY"), HasSubstr("model.position"));
  EXPECT_THAT(complaint("activation: SWIGLU"), HasSubstr("model.activation"));
  EXPECT_THAT(complaint("qkv_bias: false"), HasSubstr("model.qkv_bias"));
  EXPECT_THAT(complaint("sliding_window: 3"), HasSubstr("model.sliding_window"));
  EXPECT_THAT(complaint("rope_scaling { kind: LINEAR factor: 2 }"), HasSubstr("model.rope_scaling"));
  EXPECT_THAT(complaint("family: LLAMA key_heads: 3"),
              HasSubstr("model.key_heads (3) is not a divisor of model.heads (4)"));
  EXPECT_THAT(complaint("family: LLAMA key_heads: 8"), HasSubstr("model.key_heads"));
  EXPECT_THAT(complaint("family: LLAMA head_dim: 7"), HasSubstr("model.head_dim (7) must be even"));
  EXPECT_THAT(complaint("family: LLAMA activation: GELU_TANH"), HasSubstr("model.activation"));
  EXPECT_THAT(complaint("family: LLAMA norm: LAYER_NORM"), HasSubstr("model.norm"));
  EXPECT_THAT(complaint("family: LLAMA full_attention_layers: 1"), HasSubstr("model.full_attention_layers"));
  EXPECT_THAT(complaint("family: LLAMA rope_scaling { kind: LINEAR }"), HasSubstr("factor"));
  EXPECT_THAT(complaint("family: LLAMA rope_scaling { factor: 2 }"), HasSubstr("factor"));
  EXPECT_THAT(complaint("family: LLAMA rope_scaling { kind: LINEAR factor: 2 original_context: 8 }"),
              HasSubstr("original_context"));
  EXPECT_THAT(complaint("family: LLAMA rope_scaling { kind: LLAMA3 factor: 2 low_frequency_factor: 5 }"),
              HasSubstr("low_frequency_factor must be less"));
}

TEST(Families, GoingOnKeepsTheShape) {
  const ModelConfig from = model_of(
      "family: QWEN3 layers: 4 heads: 4 width: 64 context: 64 vocabulary: 100 key_heads: 2 mlp_width: 96 "
      "rope_scaling { kind: LINEAR factor: 2 }");
  const auto take = [&](const std::string& text) {
    ModelConfig model;
    parse_config("layers: 4 heads: 4 width: 64 " + text, "test", {}, model);
    take_architecture(from, "folder", model);
    resolve_family(model);
    return model;
  };
  const ModelConfig same = take("context: 64 dropout: 0.1");
  EXPECT_EQ(same.key_heads(), 2);
  EXPECT_EQ(same.mlp_width(), 96);
  EXPECT_EQ(same.family(), ModelConfig::QWEN3);
  EXPECT_EQ(same.vocabulary(), 100);
  EXPECT_EQ(same.rope_scaling().factor(), 2.0);
  EXPECT_EQ(same.dropout(), 0.1f);
  // A longer context with other frequencies.
  const ModelConfig longer =
      take("context: 256 rope_theta: 5e6 rope_scaling { kind: LLAMA3 factor: 4 original_context: 64 }");
  EXPECT_EQ(longer.context(), 256);
  EXPECT_EQ(longer.rope_scaling().kind(), RopeScaling::LLAMA3);
  EXPECT_TRUE(model_complaints(longer).empty());
  for (const char* wrong : {"context: 64 key_heads: 4", "context: 64 family: LLAMA", "context: 64 vocabulary: 99",
                            "context: 64 tied: false", "context: 64 norm_epsilon: 1e-5"}) {
    EXPECT_THROW(take(wrong), Error) << wrong;
  }
  try {
    take("context: 64 mlp_width: 128 qk_norm: false");
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "model.mlp_width is 128 but folder has 96\nmodel.qk_norm is false but folder has true");
  }
}

}  // namespace
}  // namespace tsugi
