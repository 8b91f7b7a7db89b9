#include "core/scaling/flops.h"

#include <algorithm>

#include "core/config/families.h"

namespace tsugi {

ParameterCount count_parameters(const ModelConfig& model) {
  const int64_t width = model.width();
  const int64_t queries = int64_t{model.heads()} * model.head_dim();
  const int64_t qkv = queries + int64_t{2} * model.key_heads() * model.head_dim();
  const int64_t hidden = model.mlp_width();
  const bool gated = model.activation() == ModelConfig::SWIGLU || model.activation() == ModelConfig::GATED_GELU;
  const int64_t into_hidden = gated ? 2 * hidden : hidden;
  const int64_t norm = model.norm() == ModelConfig::LAYER_NORM ? 2 * width : width;

  int64_t block = width * (qkv + queries + into_hidden + hidden) + 2 * norm;
  if (model.qkv_bias()) block += qkv;
  if (model.projection_bias()) block += width;
  if (model.mlp_bias()) block += into_hidden + width;
  if (model.qk_norm()) block += 2 * model.head_dim();

  const int64_t table = model.vocabulary() * width;
  ParameterCount count;
  count.in_head = table;
  if (model.head_transform()) count.in_head += width * width + width + norm + model.vocabulary();
  count.in_products = model.layers() * block + count.in_head;
  if (!model.post_norm()) count.in_products += norm;
  if (model.embedding_norm()) count.in_products += norm;
  if (has_decoder(model)) {
    const int64_t of_memory = width * (qkv - queries);  // keys and values of each cross attention
    count.in_decoder = model.decoder_layers() * (block + 2 * width * queries + norm) + norm;
    count.in_products += count.in_decoder + model.decoder_layers() * of_memory;
  }
  if (model.family() == ModelConfig::VIT) {
    count.in_products += (int64_t{model.image_channels()} * model.patch_size() * model.patch_size() + 1) * width;
  }
  count.total = count.in_products + (model.tied() ? 0 : table);
  if (model.position() == ModelConfig::LEARNED) count.total += (model.context() + model.position_offset()) * width;
  count.total += model.segments() * width;
  if (has_decoder(model)) count.total += int64_t{2} * model.relative_buckets() * model.heads();
  if (model.family() == ModelConfig::VIT) count.total += width;  // the class token
  if (model.pooler()) count.total += width * width + width;
  if (model.discriminator()) count.total += width * width + width + width + 1;
  if (model.next_sentence_head()) count.total += 2 * width + 2;
  return count;
}

FlopsPerToken flops_per_token(const ModelConfig& model, int64_t sequence, double scored_share) {
  const ParameterCount count = count_parameters(model);
  const int64_t of_targets = count.in_head + count.in_decoder;
  const double products =
      6.0 * (static_cast<double>(count.in_products - of_targets) + scored_share * static_cast<double>(of_targets));
  const double per_key = 12.0 * model.heads() * model.head_dim();
  const auto length = static_cast<double>(sequence);
  FlopsPerToken flops{products, products};
  if (model.next_sentence_head()) {  // a row of each text
    const auto width = static_cast<double>(model.width());
    flops.palm += 6.0 * (width + 2.0) * width / length;
    flops.causal = flops.palm;
  }
  for (int64_t layer = 0; layer < model.layers(); ++layer) {
    const auto window = static_cast<double>(attention_window(model, layer));
    const double keys = window > 0.0 ? std::min(window, length) : length;
    flops.palm += per_key * keys;
    const bool whole = model.bidirectional() || has_decoder(model);
    flops.causal += per_key * (whole ? keys : keys - keys * keys / (2.0 * length));
  }
  if (has_decoder(model)) {
    const double targets = scored_share * length;
    const double of_layers = per_key * scored_share * static_cast<double>(model.decoder_layers());
    flops.palm += of_layers * (targets + length);
    flops.causal += of_layers * (targets / 2.0 + length);
  }
  return flops;
}

}  // namespace tsugi
