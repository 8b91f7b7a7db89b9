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

class Complaints {
 public:
  explicit Complaints(const ModelConfig& model) : model_(model), family_(ModelConfig::Family_Name(model.family())) {}

  std::vector<std::string> all() {
    shapes();
    if (model_.next_sentence_head()) {
      require(model_.family() == ModelConfig::BERT, "next_sentence_head", "false");
      if (!model_.pooler()) add("model.next_sentence_head reads the pooled output: set model.pooler: true");
      if (!model_.head_transform())
        add("model.next_sentence_head needs model.head_transform: transformers has no class for it alone");
    }
    if (model_.family() == ModelConfig::VIT) {
      images();
      // The class token comes first: without bidirectional it would see itself alone.
      const bool seen = model_.bidirectional() || model_.pooling() == ModelConfig::MEAN_OF_PATCHES;
      require(seen, "bidirectional", "true (or model.pooling MEAN_OF_PATCHES)");
      require(!model_.head_transform(), "head_transform", "false");
      require(model_.tied(), "tied", "true");
      require(model_.logit_soft_cap() == 0.0f, "logit_soft_cap", "0");
      learned_positions();
    } else {
      require(model_.image_size() == 0, "image_size", "0");
      require(model_.patch_size() == 0, "patch_size", "0");
      require(model_.image_channels() == 0, "image_channels", "0");
      require(model_.pooling() == ModelConfig::CLASS_TOKEN, "pooling", "CLASS_TOKEN");
    }
    if (model_.family() != ModelConfig::T5) {
      require(model_.decoder_layers() == 0, "decoder_layers", "0");
      require(model_.relative_buckets() == 0, "relative_buckets", "0");
      require(model_.relative_distance() == 0, "relative_distance", "0");
      require(model_.decoder_start_token() == 0, "decoder_start_token", "0");
      require(!model_.scale_outputs(), "scale_outputs", "false");
    }
    if (model_.family() != ModelConfig::ELECTRA) require(!model_.discriminator(), "discriminator", "false");
    if (is_bert_like(model_)) {
      require(model_.bidirectional(), "bidirectional", "true");
      require(model_.post_norm(), "post_norm", "true");
      require(model_.embedding_norm(), "embedding_norm", "true");
      require(model_.tied(), "tied", "true");
      require(model_.logit_soft_cap() == 0.0f, "logit_soft_cap", "0");
      if (model_.family() == ModelConfig::ROBERTA) {
        require(model_.activation() == ModelConfig::GELU_ERF, "activation", "GELU_ERF");
        require(model_.segments() > 0, "segments", "1 or more");
      } else {
        require(model_.position_offset() == 0, "position_offset", "0");
        const bool segments = model_.family() != ModelConfig::DISTILBERT;
        require(segments == (model_.segments() > 0), "segments", segments ? "1 or more" : "0");
      }
      if (model_.family() == ModelConfig::DISTILBERT || model_.family() == ModelConfig::ELECTRA) {
        require(!model_.pooler(), "pooler", "false");
      }
      learned_positions();
    } else {
      require(!model_.post_norm(), "post_norm", "false");
      require(!model_.embedding_norm(), "embedding_norm", "false");
      require(model_.segments() == 0, "segments", "0");
      require(model_.position_offset() == 0, "position_offset", "0");
      require(!model_.head_transform(), "head_transform", "false");
      require(!model_.pooler(), "pooler", "false");
      if (model_.family() == ModelConfig::GPT2) {
        learned_positions();
      } else if (model_.family() == ModelConfig::T5) {
        t5();
      } else if (model_.family() != ModelConfig::VIT) {
        llama();
      }
    }
    positions();
    return std::move(complaints_);
  }

 private:
  void add(std::string text) { complaints_.push_back(std::move(text)); }
  void require(bool holds, const std::string& path, const std::string& value) {
    if (!holds) add("model." + path + " must be " + value + " in family " + family_ + ": nothing else is built");
  }

  void shapes() {
    // Qwen 3 and T5 have heads of a width of their own.
    divides_ = model_.width() % model_.heads() == 0;
    if (!divides_ && model_.family() != ModelConfig::QWEN3 && model_.family() != ModelConfig::T5) {
      add(with_value("model.width", model_.width()) + " is not a multiple of " +
          with_value("model.heads", model_.heads()));
    }
    if (model_.key_heads() > model_.heads() || model_.heads() % model_.key_heads() != 0) {
      add(with_value("model.key_heads", model_.key_heads()) + " is not a divisor of " +
          with_value("model.heads", model_.heads()));
    }
    if (model_.sliding_window() == 0 && model_.full_attention_layers() != 0) {
      add(with_value("model.full_attention_layers", model_.full_attention_layers()) +
          " has a meaning with model.sliding_window only");
    }
    if (model_.full_attention_layers() > model_.layers()) {
      add(with_value("model.full_attention_layers", model_.full_attention_layers()) + " is more than " +
          with_value("model.layers", model_.layers()));
    }
  }

  void images() {
    const int64_t size = model_.image_size();
    const int64_t patch = model_.patch_size();
    if (size < 1 || patch < 1) {
      add("model.image_size and model.patch_size are needed in family VIT");
      return;
    }
    if (size % patch != 0) {
      add(with_value("model.image_size", size) + " must be a multiple of " + with_value("model.patch_size", patch));
      return;
    }
    const int64_t tokens = size / patch * (size / patch) + 1;
    require(model_.context() == tokens, "context", "the number of patches and one, " + std::to_string(tokens));
    require(model_.image_channels() == 1 || model_.image_channels() == 3, "image_channels", "1 or 3");
    require(model_.vocabulary() == 0, "vocabulary", "0");
  }

  /// GPT-2, BERT and ViT.
  void learned_positions() {
    require(model_.norm() == ModelConfig::LAYER_NORM, "norm", "LAYER_NORM");
    require(model_.position() == ModelConfig::LEARNED, "position", "LEARNED");
    require(model_.activation() == ModelConfig::GELU_TANH || model_.activation() == ModelConfig::GELU_ERF ||
                model_.activation() == ModelConfig::RELU_SQUARED,
            "activation", "GELU_TANH, GELU_ERF or RELU_SQUARED");
    require(model_.key_heads() == model_.heads(), "key_heads", "model.heads");
    require(!divides_ || model_.head_dim() * model_.heads() == model_.width(), "head_dim", "model.width / model.heads");
    require(model_.qkv_bias(), "qkv_bias", "true");
    require(model_.projection_bias(), "projection_bias", "true");
    require(model_.mlp_bias(), "mlp_bias", "true");
    require(!model_.qk_norm(), "qk_norm", "false");
    require(model_.sliding_window() == 0, "sliding_window", "0");
  }

  void llama() {
    require(model_.norm() == ModelConfig::RMS_NORM, "norm", "RMS_NORM");
    require(model_.position() == ModelConfig::ROTARY, "position", "ROTARY");
    require(model_.activation() == ModelConfig::SWIGLU || model_.activation() == ModelConfig::RELU_SQUARED,
            "activation", "SWIGLU or RELU_SQUARED");
  }

  void t5() {
    require(model_.norm() == ModelConfig::RMS_NORM, "norm", "RMS_NORM");
    require(model_.position() == ModelConfig::RELATIVE, "position", "RELATIVE");
    require(model_.activation() == ModelConfig::RELU || model_.activation() == ModelConfig::GATED_GELU, "activation",
            "RELU or GATED_GELU");
    require(model_.key_heads() == model_.heads(), "key_heads", "model.heads");
    require(!model_.bidirectional(), "bidirectional", "false: the encoder always is, the decoder never");
    require(!model_.qkv_bias(), "qkv_bias", "false");
    require(!model_.projection_bias(), "projection_bias", "false");
    require(!model_.mlp_bias(), "mlp_bias", "false");
    require(!model_.qk_norm(), "qk_norm", "false");
    require(model_.sliding_window() == 0, "sliding_window", "0");
    require(model_.logit_soft_cap() == 0.0f, "logit_soft_cap", "0");
    require(!model_.init_scales_residual(), "init_scales_residual", "false");
    require(model_.decoder_layers() >= 1, "decoder_layers", "1 or more");
    require(model_.relative_buckets() >= 4 && model_.relative_buckets() % 2 == 0, "relative_buckets",
            "an even number, 4 or more");
    if (model_.relative_distance() <= model_.relative_buckets() / 2) {
      add(with_value("model.relative_distance", model_.relative_distance()) + " must be more than half of " +
          with_value("model.relative_buckets", model_.relative_buckets()) + ": so many distances are exact");
    }
    if (model_.vocabulary() > 0 && model_.decoder_start_token() >= model_.vocabulary()) {
      add(with_value("model.decoder_start_token", model_.decoder_start_token()) + " is not below " +
          with_value("model.vocabulary", model_.vocabulary()));
    }
  }

  void positions() {
    const RopeScaling& scaling = model_.rope_scaling();
    const bool rotary = model_.position() == ModelConfig::ROTARY;
    if (rotary && model_.head_dim() % 2 != 0) {
      add(with_value("model.head_dim", model_.head_dim()) + " must be even: rotary positions turn pairs");
    }
    if (!rotary && scaling.kind() != RopeScaling::NONE) {
      add("model.rope_scaling has a meaning with rotary positions only");
    }
    const bool llama3 = scaling.kind() == RopeScaling::LLAMA3;
    const bool yarn = scaling.kind() == RopeScaling::YARN;
    if (scaling.kind() == RopeScaling::NONE ? scaling.has_factor() : !scaling.has_factor()) {
      add("model.rope_scaling.factor belongs to a kind other than NONE");
    }
    if (!llama3 && (scaling.has_low_frequency_factor() || scaling.has_high_frequency_factor())) {
      add("model.rope_scaling.low_frequency_factor and high_frequency_factor belong to kind LLAMA3");
    }
    if (!llama3 && !yarn && scaling.has_original_context()) {
      add("model.rope_scaling.original_context belongs to kinds LLAMA3 and YARN");
    }
    if (!yarn && (scaling.has_beta_fast() || scaling.has_beta_slow() || scaling.has_attention_factor() ||
                  scaling.has_truncate())) {
      add("model.rope_scaling.beta_fast, beta_slow, attention_factor and truncate belong to kind YARN");
    }
    if (yarn && !scaling.has_original_context()) {
      add("model.rope_scaling.original_context is required for kind YARN: the context that the model was trained on");
    }
    if (yarn && scaling.beta_slow() > scaling.beta_fast()) {
      add("model.rope_scaling.beta_slow must not be more than beta_fast");
    }
    if (yarn && model_.rope_theta() <= 1.0)
      add("model.rope_theta must be more than 1 for model.rope_scaling.kind YARN");
    if (llama3 && scaling.low_frequency_factor() >= scaling.high_frequency_factor()) {
      add("model.rope_scaling.low_frequency_factor must be less than high_frequency_factor");
    }
  }

  const ModelConfig& model_;
  std::string family_;
  bool divides_ = true;
  std::vector<std::string> complaints_;
};

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

std::vector<std::string> model_complaints(const ModelConfig& model) { return Complaints(model).all(); }

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
