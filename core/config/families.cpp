#include "core/config/families.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <set>

#include "core/config/schema.h"
#include "ops/base/error.h"

namespace tsugi {
namespace {

/// The hidden layer of a gated MLP with as many parameters as an ungated one of 4·width: 2/3 of that, rounded up to a
/// multiple of 256 (Touvron et al. 2023, section 2.2, and their code: `multiple_of`). 4096 → 11008.
int32_t gated_width(int32_t width) { return static_cast<int32_t>((int64_t{8} * width / 3 + 255) / 256 * 256); }

/// Llama 2: Touvron et al. 2023, epsilon 1e-5. Llama 3 has rope_theta 500000, and 8 key heads.
void fill_llama(ModelConfig& whole) {
  whole.set_norm(ModelConfig::RMS_NORM);
  whole.set_norm_epsilon(1e-5);
  whole.set_position(ModelConfig::ROTARY);
  whole.set_rope_theta(10000.0);
  whole.set_activation(ModelConfig::SWIGLU);
  whole.set_mlp_width(gated_width(whole.width()));
  whole.set_qkv_bias(false);
  whole.set_projection_bias(false);
  whole.set_mlp_bias(false);
  whole.set_tied(false);
  whole.set_qk_norm(false);
  // "initializer_range": 0.02 in the published config.json of Llama 2 and 3 and Qwen 2 and 3, which transformers'
  // LlamaPreTrainedModel applies to every matrix alike.
  whole.set_init_deviation(0.02);
  whole.set_init_scales_residual(false);
}

/// Devlin et al. 2019, sections 3 and A.2, and config.json of bert-base-uncased: "initializer_range" and
/// "layer_norm_eps".
void fill_bert(ModelConfig& whole) {
  whole.set_norm(ModelConfig::LAYER_NORM);
  whole.set_norm_epsilon(1e-12);
  whole.set_position(ModelConfig::LEARNED);
  whole.set_rope_theta(10000.0);
  whole.set_activation(ModelConfig::GELU_ERF);
  whole.set_mlp_width(4 * whole.width());
  whole.set_qkv_bias(true);
  whole.set_projection_bias(true);
  whole.set_mlp_bias(true);
  whole.set_tied(true);
  whole.set_qk_norm(false);
  whole.set_init_deviation(0.02);
  whole.set_init_scales_residual(false);
  whole.set_bidirectional(true);
  whole.set_post_norm(true);
  whole.set_embedding_norm(true);
  whole.set_segments(2);
  whole.set_head_transform(true);
}

/// Dosovitskiy et al. 2020, and config.json of google/vit-base-patch16-224.
void fill_vit(ModelConfig& whole) {
  fill_bert(whole);
  whole.set_post_norm(false);
  whole.set_embedding_norm(false);
  whole.set_segments(0);
  whole.set_head_transform(false);
  whole.set_image_channels(3);
}

/// Raffel et al. 2020, sections 2.1 and 3.1.1, and config.json of t5-small; the initial values are those of
/// mesh-tensorflow's layers, times init_deviation ("initializer_factor"): core/nn/layers.cpp.
void fill_t5(ModelConfig& whole) {
  fill_llama(whole);
  whole.set_norm_epsilon(1e-6);
  whole.set_position(ModelConfig::RELATIVE);
  whole.set_activation(ModelConfig::RELU);
  whole.set_mlp_width(4 * whole.width());
  whole.set_tied(true);
  whole.set_init_deviation(1.0);
  whole.set_decoder_layers(whole.layers());
  whole.set_relative_buckets(32);
  whole.set_relative_distance(128);
  whole.clear_scale_outputs();  // as tied, which may be written
}

void fill_family(ModelConfig& whole) {
  whole.set_decoder_layers(0);
  whole.set_relative_buckets(0);
  whole.set_relative_distance(0);
  whole.set_decoder_start_token(0);
  whole.set_scale_outputs(false);
  whole.set_discriminator(false);
  whole.set_image_size(0);
  whole.set_patch_size(0);
  whole.set_image_channels(0);
  whole.set_pooling(ModelConfig::CLASS_TOKEN);
  whole.set_bidirectional(false);
  whole.set_post_norm(false);
  whole.set_embedding_norm(false);
  whole.set_segments(0);
  whole.set_position_offset(0);
  whole.set_head_transform(false);
  whole.set_pooler(false);
  whole.set_next_sentence_head(false);
  whole.set_key_heads(whole.heads());
  whole.set_head_dim(std::max(whole.width() / std::max(whole.heads(), 1), 1));
  whole.set_sliding_window(0);
  whole.set_full_attention_layers(0);
  whole.set_logit_soft_cap(0.0f);
  switch (whole.family()) {
    case ModelConfig::GPT2:
      whole.set_norm(ModelConfig::LAYER_NORM);
      whole.set_norm_epsilon(1e-5);
      whole.set_position(ModelConfig::LEARNED);
      whole.set_rope_theta(10000.0);
      whole.set_activation(ModelConfig::GELU_TANH);
      whole.set_mlp_width(4 * whole.width());
      whole.set_qkv_bias(true);
      whole.set_projection_bias(true);
      whole.set_mlp_bias(true);
      whole.set_tied(true);
      whole.set_qk_norm(false);
      // Radford et al. 2019, section 2.3, and the released code: N(0, 0.02), residual projections over sqrt(2·layers).
      whole.set_init_deviation(0.02);
      whole.set_init_scales_residual(true);
      return;
    case ModelConfig::LLAMA:
      fill_llama(whole);
      return;
    case ModelConfig::QWEN2:  // config.json of Qwen2.5-0.5B
      fill_llama(whole);
      whole.set_norm_epsilon(1e-6);
      whole.set_rope_theta(1e6);
      whole.set_qkv_bias(true);
      whole.set_tied(true);
      return;
    case ModelConfig::QWEN3:  // config.json of Qwen3-0.6B
      fill_llama(whole);
      whole.set_norm_epsilon(1e-6);
      whole.set_rope_theta(1e6);
      whole.set_head_dim(128);
      whole.set_qk_norm(true);
      whole.set_tied(true);
      return;
    case ModelConfig::BERT:
      fill_bert(whole);
      return;
    case ModelConfig::ROBERTA:  // config.json of roberta-base; fairseq counts positions from padding_idx + 1
      fill_bert(whole);
      whole.set_norm_epsilon(1e-5);
      whole.set_segments(1);
      whole.set_position_offset(2);
      return;
    case ModelConfig::DISTILBERT:  // config.json of distilbert-base-uncased
      fill_bert(whole);
      whole.set_segments(0);
      return;
    case ModelConfig::ELECTRA:  // config.json of google/electra-base-discriminator
      fill_bert(whole);
      whole.set_head_transform(false);
      whole.clear_discriminator();  // as head_transform, which may be written
      return;
    case ModelConfig::VIT:
      fill_vit(whole);
      return;
    case ModelConfig::T5:
      fill_t5(whole);
      return;
    default:
      return;
  }
}

void fill_scaling(RopeScaling& scaling) {
  if (scaling.kind() == RopeScaling::YARN) {  // Peng et al. 2023, section 3.2; transformers' defaults
    if (!scaling.has_beta_fast()) scaling.set_beta_fast(32.0);
    if (!scaling.has_beta_slow()) scaling.set_beta_slow(1.0);
    if (!scaling.has_attention_factor()) scaling.set_attention_factor(0.0);
    if (!scaling.has_truncate()) scaling.set_truncate(true);
  }
  // Llama 3.1's.
  if (scaling.kind() != RopeScaling::LLAMA3) return;
  if (!scaling.has_low_frequency_factor()) scaling.set_low_frequency_factor(1.0);
  if (!scaling.has_high_frequency_factor()) scaling.set_high_frequency_factor(4.0);
  if (!scaling.has_original_context()) scaling.set_original_context(8192);
}

}  // namespace

void resolve_family(ModelConfig& model) {
  ModelConfig whole;  // family GPT2 where nothing is said
  whole.set_family(model.family());
  whole.set_layers(model.layers());
  whole.set_heads(model.heads());
  whole.set_width(model.width());
  fill_family(whole);
  whole.MergeFrom(model);
  if (!whole.has_scale_outputs()) whole.set_scale_outputs(whole.tied());
  if (!whole.has_discriminator()) whole.set_discriminator(!whole.head_transform());
  fill_scaling(*whole.mutable_rope_scaling());
  if (!whole.rope_scaling().has_kind()) whole.mutable_rope_scaling()->set_kind(RopeScaling::NONE);
  if (!whole.has_dropout()) whole.set_dropout(0.0f);
  if (!whole.has_context() && whole.patch_size() > 0) {
    const int64_t side = whole.image_size() / whole.patch_size();
    whole.set_context(static_cast<int32_t>(std::min<int64_t>(side * side + 1, 1048576)));
  }
  if (!whole.has_vocabulary()) whole.set_vocabulary(0);
  model = whole;
}

bool is_bert_like(const ModelConfig& model) {
  return model.family() == ModelConfig::BERT || model.family() == ModelConfig::ROBERTA ||
         model.family() == ModelConfig::DISTILBERT || model.family() == ModelConfig::ELECTRA;
}

bool has_decoder(const ModelConfig& model) { return model.family() == ModelConfig::T5; }

void take_architecture(const ModelConfig& from, const std::string& origin, ModelConfig& model) {
  // What may be changed when training goes on: no weight depends on it.
  static const std::set<std::string> kFree{"dropout",        "rope_theta",          "rope_scaling",
                                           "sliding_window", "logit_soft_cap",      "full_attention_layers",
                                           "init_deviation", "init_scales_residual"};
  // 0 and NONE are the schema's words for "not said".
  if (model.vocabulary() == 0) model.clear_vocabulary();
  if (model.rope_scaling().kind() == RopeScaling::NONE) model.clear_rope_scaling();
  ModelConfig merged = from;
  merged.MergeFrom(model);
  if (model.has_rope_scaling()) *merged.mutable_rope_scaling() = model.rope_scaling();

  const google::protobuf::Reflection& reflection = *merged.GetReflection();
  const google::protobuf::Descriptor& type = *merged.GetDescriptor();
  std::vector<std::string> complaints;
  for (int i = 0; i < type.field_count(); ++i) {
    const google::protobuf::FieldDescriptor& field = *type.field(i);
    if (!reflection.HasField(model, &field) || kFree.contains(field.name())) continue;
    if (field.name() == "context" && from.position() != ModelConfig::LEARNED) continue;
    std::string ours;
    std::string theirs;
    google::protobuf::TextFormat::PrintFieldValueToString(model, &field, -1, &ours);
    google::protobuf::TextFormat::PrintFieldValueToString(from, &field, -1, &theirs);
    if (ours != theirs)
      complaints.push_back("model." + field.name() + " is " + ours + " but " + origin + " has " + theirs);
  }
  if (!complaints.empty()) {
    throw Error(ExitCode::kUsage, join(complaints, "\n"), "training that goes on keeps the shape of the checkpoint");
  }
  model = merged;
}

int64_t attention_window(const ModelConfig& model, int64_t layer) {
  return layer < model.full_attention_layers() ? 0 : model.sliding_window();
}

}  // namespace tsugi
