#include "core/model/names.h"

namespace tsugi {
namespace {

TensorNames bert_names(const ModelConfig& model) {
  const bool distil = model.family() == ModelConfig::DISTILBERT;
  const bool roberta = model.family() == ModelConfig::ROBERTA;
  const bool electra = model.family() == ModelConfig::ELECTRA;
  TensorNames names;
  names.body = distil ? "distilbert." : roberta ? "roberta." : electra ? "electra." : "bert.";
  const std::string embeddings = names.body + "embeddings.";
  names.token_table = embeddings + "word_embeddings";
  names.position_table = embeddings + "position_embeddings";
  names.segment_table = embeddings + "token_type_embeddings";
  names.embedding_norm = embeddings + "LayerNorm";
  names.blocks = names.body + (distil ? "transformer.layer." : "encoder.layer.");
  names.pooler = names.body + "pooler.dense";
  if (distil) {
    names.output = "vocab_projector";
    names.transform = "vocab_transform";
    names.transform_norm = "vocab_layer_norm";
    names.output_bias = "vocab_projector.bias";
    names.classifier_dense = "pre_classifier";
  } else if (roberta) {
    names.output = "lm_head.decoder";
    names.transform = "lm_head.dense";
    names.transform_norm = "lm_head.layer_norm";
    names.output_bias = "lm_head.bias";
    names.classifier_dense = "classifier.dense";
  } else if (electra) {
    names.output = "generator_lm_head";
    names.transform = "generator_predictions.dense";
    names.transform_norm = "generator_predictions.LayerNorm";
    names.output_bias = "generator_lm_head.bias";
    names.discriminator_dense = "discriminator_predictions.dense";
    names.discriminator = "discriminator_predictions.dense_prediction";
    names.classifier_dense = "classifier.dense";
  } else {
    names.output = "cls.predictions.decoder";
    names.transform = "cls.predictions.transform.dense";
    names.transform_norm = "cls.predictions.transform.LayerNorm";
    names.output_bias = "cls.predictions.bias";
  }
  names.classifier = roberta || electra ? "classifier.out_proj" : "classifier";
  return names;
}

}  // namespace

TensorNames tensor_names(const ModelConfig& model) {
  TensorNames names;
  switch (model.family()) {
    case ModelConfig::BERT:
    case ModelConfig::ROBERTA:
    case ModelConfig::DISTILBERT:
    case ModelConfig::ELECTRA:
      return bert_names(model);
    case ModelConfig::VIT:
      names.body = "vit.";
      names.class_token = "vit.embeddings.cls_token";
      names.position_table = "vit.embeddings.position_embeddings";
      names.patches = "vit.embeddings.patch_embeddings.projection";
      names.blocks = "vit.encoder.layer.";
      names.final_norm = "vit.layernorm";
      names.classifier = "classifier";
      return names;
    case ModelConfig::T5:  // whose names have no beginning of the body's own
      names.token_table = "shared";
      names.blocks = "encoder.block.";
      names.final_norm = "encoder.final_layer_norm";
      names.decoder_blocks = "decoder.block.";
      names.decoder_norm = "decoder.final_layer_norm";
      return names;
    case ModelConfig::GPT2:
      names.body = "transformer.";
      names.token_table = "transformer.wte";
      names.position_table = "transformer.wpe";
      names.blocks = "transformer.h.";
      names.final_norm = "transformer.ln_f";
      return names;
    default:
      names.body = "model.";
      names.token_table = "model.embed_tokens";
      names.blocks = "model.layers.";
      names.final_norm = "model.norm";
      return names;
  }
}

namespace {

BlockNames t5_names(const std::string& block, const ModelConfig& model) {
  const bool decoder = block.starts_with("decoder.");
  const std::string self = block + ".layer.0.SelfAttention.";
  const std::string mlp_layer = block + (decoder ? ".layer.2" : ".layer.1");
  const std::string mlp = mlp_layer + ".DenseReluDense.";
  BlockNames names;
  names.attention_norm = block + ".layer.0.layer_norm";
  names.qkv = {self + "q", self + "k", self + "v"};
  names.projection = self + "o";
  names.relative_table = self + "relative_attention_bias.weight";
  if (decoder) {
    const std::string cross = block + ".layer.1.EncDecAttention.";
    names.cross_norm = block + ".layer.1.layer_norm";
    names.cross_query = cross + "q";
    names.cross_keys_values = {cross + "k", cross + "v"};
    names.cross_projection = cross + "o";
  }
  names.mlp_norm = mlp_layer + ".layer_norm";
  names.expand = {mlp + "wi"};
  if (model.activation() == ModelConfig::GATED_GELU) names.expand = {mlp + "wi_0", mlp + "wi_1"};
  names.contract = mlp + "wo";
  return names;
}

}  // namespace

BlockNames block_names(const std::string& block, const ModelConfig& model) {
  BlockNames names;
  switch (model.family()) {
    case ModelConfig::GPT2:
      return {block + ".ln_1",       block + ".ln_2",          block + ".attn.c_proj",
              block + ".mlp.c_proj", {block + ".attn.c_attn"}, {block + ".mlp.c_fc"}};
    case ModelConfig::BERT:
    case ModelConfig::ELECTRA:
    case ModelConfig::ROBERTA: {
      const std::string self = block + ".attention.self.";
      return {block + ".attention.output.LayerNorm",
              block + ".output.LayerNorm",
              block + ".attention.output.dense",
              block + ".output.dense",
              {self + "query", self + "key", self + "value"},
              {block + ".intermediate.dense"}};
    }
    case ModelConfig::VIT: {
      const std::string self = block + ".attention.attention.";
      return {block + ".layernorm_before",
              block + ".layernorm_after",
              block + ".attention.output.dense",
              block + ".output.dense",
              {self + "query", self + "key", self + "value"},
              {block + ".intermediate.dense"}};
    }
    case ModelConfig::DISTILBERT: {
      const std::string attention = block + ".attention.";
      return {block + ".sa_layer_norm",
              block + ".output_layer_norm",
              attention + "out_lin",
              block + ".ffn.lin2",
              {attention + "q_lin", attention + "k_lin", attention + "v_lin"},
              {block + ".ffn.lin1"}};
    }
    case ModelConfig::T5:
      return t5_names(block, model);
    default:
      break;
  }
  names.attention_norm = block + ".input_layernorm";
  names.mlp_norm = block + ".post_attention_layernorm";
  const std::string attention = block + ".self_attn.";
  names.qkv = {attention + "q_proj", attention + "k_proj", attention + "v_proj"};
  names.projection = attention + "o_proj";
  const std::string mlp = block + ".mlp.";
  names.expand = {mlp + "up_proj"};
  if (model.activation() == ModelConfig::SWIGLU) names.expand.insert(names.expand.begin(), mlp + "gate_proj");
  names.contract = mlp + "down_proj";
  return names;
}

}  // namespace tsugi
