// What cannot be built of a model's configuration.
#include <algorithm>
#include <cstdint>

#include "core/config/families.h"
#include "core/config/schema.h"

namespace tsugi {
namespace {

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

std::vector<std::string> model_complaints(const ModelConfig& model) { return Complaints(model).all(); }

}  // namespace tsugi
