#include "core/model/transformer.h"

#include <cmath>
#include <cstring>

#include "core/autograd/image_functions.h"
#include "core/config/families.h"
#include "core/model/names.h"
#include "ops/activation/activation.h"
#include "ops/base/error.h"
#include "ops/columns/columns.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/rotary/rotary.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

RotaryScaling rotary_scaling(const RopeScaling& scaling) {
  RotaryScaling result;
  switch (scaling.kind()) {
    case RopeScaling::LINEAR:
      result.kind = RotaryScaling::Kind::kLinear;
      break;
    case RopeScaling::LLAMA3:
      result.kind = RotaryScaling::Kind::kLlama3;
      break;
    case RopeScaling::YARN:
      result.kind = RotaryScaling::Kind::kYarn;
      result.beta_fast = scaling.beta_fast();
      result.beta_slow = scaling.beta_slow();
      result.attention_factor = scaling.attention_factor();
      result.truncate = scaling.truncate();
      break;
    default:
      return result;
  }
  result.factor = scaling.factor();
  result.original_context = scaling.original_context();
  result.low_freq_factor = scaling.low_frequency_factor();
  result.high_freq_factor = scaling.high_frequency_factor();
  return result;
}

int64_t padded_vocabulary(const ModelConfig& config) {
  return (config.vocabulary() + kVocabularyPadding - 1) / kVocabularyPadding * kVocabularyPadding;
}

}  // namespace

void Transformer::declare_head(ParameterStore& store) {
  const TensorNames names = tensor_names(config_);
  const auto deviation = static_cast<float>(config_.init_deviation());
  if (!config_.tied()) {
    output_ = store.add(names.output + ".weight", {config_.vocabulary(), config_.width()},
                        {Initialization::Kind::kNormal, deviation}, true, padded_vocabulary(config_));
  }
  if (!config_.head_transform()) return;
  output_bias_ = store.add(names.output_bias, {config_.vocabulary()}, {Initialization::Kind::kZeros}, false,
                           padded_vocabulary(config_));
  transform_norm_ = Norm::declare(store, names.transform_norm, config_);
  transform_ = Linear::declare(store, {.names = {names.transform},
                                       .in = config_.width(),
                                       .rows = {config_.width()},
                                       .deviation = deviation,
                                       .layout = WeightLayout::kOutIn});
}

void Transformer::declare_image_embeddings(ParameterStore& store, const TensorNames& names,
                                           const Initialization& normal) {
  const int64_t width = config_.width();
  const int64_t channels = config_.image_channels();
  const int64_t side = config_.patch_size();
  const int64_t tokens = config_.context();
  position_embedding_ = store.add(names.position_table, {tokens, width}, normal, true, 0,
                                  {{names.position_table, tokens, {1, tokens, width}}});
  class_token_ = store.add(names.class_token, {1, width}, normal, false, 0, {{names.class_token, 1, {1, 1, width}}});
  patch_embedding_.layout = WeightLayout::kOutIn;
  patch_embedding_.bias = store.add(names.patches + ".bias", {width}, {Initialization::Kind::kZeros}, false);
  // A convolution whose steps are as wide as its window.
  patch_embedding_.weight = store.add(names.patches + ".weight", {width, channels * side * side}, normal, true, 0,
                                      {{names.patches + ".weight", width, {width, channels, side, side}}});
}

void Transformer::declare_stack(ParameterStore& store, const TensorNames& names, bool decoder,
                                const AdapterConfig& adapter) {
  Stack& stack = decoder ? decoder_ : stack_;
  stack.decoder = decoder;
  if (!config_.post_norm()) {
    stack.norm = Norm::declare(store, decoder ? names.decoder_norm : names.final_norm, config_);
    stack.norm_unit = store.end_unit();
  }
  const auto layers = static_cast<size_t>(decoder ? config_.decoder_layers() : config_.layers());
  stack.blocks.resize(layers);
  stack.units.resize(layers);
  for (size_t i = layers; i-- > 0;) {
    const auto index = static_cast<int64_t>(i);
    const std::string name = decoder ? names.decoder_block(index) : names.block(index);
    stack.blocks[i] = Block::declare(store, name, index, config_, adapter, decoder);
    if (i == 0 && config_.position() == ModelConfig::RELATIVE) {
      const double deviation = config_.init_deviation() / std::sqrt(static_cast<double>(config_.width()));
      stack.relative_table =
          store.add(block_names(name, config_).relative_table, {config_.relative_buckets(), config_.heads()},
                    {Initialization::Kind::kNormal, static_cast<float>(deviation)}, true);
    }
    stack.units[i] = store.end_unit();
  }
}

Transformer::Transformer(ModelConfig config, ParameterStore& store, bool output_head, const AdapterConfig& adapter) {
  resolve_family(config);
  const bool images = config.family() == ModelConfig::VIT;
  CHECK(images || config.vocabulary() > 0);
  CHECK(model_complaints(config).empty()) << model_complaints(config).front();
  config_ = config;
  const TensorNames names = tensor_names(config);
  const Initialization normal{Initialization::Kind::kNormal, static_cast<float>(config.init_deviation())};
  const Shape table{config.vocabulary(), config.width()};
  const int64_t padded = padded_vocabulary(config);
  if (output_head && !images) declare_head(store);
  if (config.next_sentence_head()) {
    next_sentence_bias_ =
        store.add(names.next_sentence + ".bias", {2}, {Initialization::Kind::kZeros}, false, kVocabularyPadding);
    next_sentence_weight_ =
        store.add(names.next_sentence + ".weight", {2, config.width()}, normal, true, kVocabularyPadding);
  }
  if (config.pooler()) {
    pooler_ = Linear::declare(store, {.names = {names.pooler},
                                      .in = config.width(),
                                      .rows = {config.width()},
                                      .deviation = normal.standard_deviation,
                                      .layout = WeightLayout::kOutIn});
  }
  if (output_head && config.discriminator()) {
    const auto declare = [&](const std::string& name, int64_t rows) {
      return Linear::declare(store, {.names = {name},
                                     .in = config.width(),
                                     .rows = {rows},
                                     .deviation = normal.standard_deviation,
                                     .layout = WeightLayout::kOutIn});
    };
    discriminator_ = declare(names.discriminator, 1);
    discriminator_dense_ = declare(names.discriminator_dense, config.width());
  }
  if (output_.defined() || transform_.weight.defined() || pooler_.weight.defined() || discriminator_.weight.defined()) {
    output_unit_ = store.end_unit();
  }
  if (has_decoder(config)) declare_stack(store, names, true, adapter);
  declare_stack(store, names, false, adapter);

  if (images) {
    declare_image_embeddings(store, names, normal);
    embedding_unit_ = store.end_unit();
    return;
  }
  if (config.embedding_norm()) embedding_norm_ = Norm::declare(store, names.embedding_norm, config);
  if (config.segments() > 0) {
    segment_embedding_ = store.add(names.segment_table + ".weight", {config.segments(), config.width()}, normal, true);
  }
  if (config.position() == ModelConfig::LEARNED) {
    const int64_t rows = int64_t{config.context()} + config.position_offset();
    position_embedding_ = store.add(names.position_table + ".weight", {rows, config.width()}, normal, true);
  }
  token_embedding_ = store.add(names.token_table + ".weight", table, normal, true, padded);
  embedding_unit_ = store.end_unit();
}

namespace {

/// embed() of tokens with a position each; inference only.
Variable embed_at(Tape& tape, const Tensor& tokens, const Parameter& token_table, const Parameter& position_table,
                  const Tensor& positions) {
  CHECK(!tape.recording());
  const Variable sum = embed(tape, tokens, token_table, Parameter(), Dropout{});
  add_in_place(tape.context(), sum.value, embed(tape, positions, position_table, Parameter(), Dropout{}).value);
  return sum;
}

}  // namespace

namespace {

/// Backward meets this mark after everything that was recorded behind it.
void mark(Tape& tape, const ForwardOptions& options, int unit) {
  if (unit >= 0 && options.on_unit_complete) tape.record([call = options.on_unit_complete, unit] { call(unit); });
}

}  // namespace

Variable Transformer::embedded(Tape& tape, const Tensor& tokens, const ForwardOptions& options,
                               int64_t first_position) const {
  if (options.positions.defined() && position_embedding_.defined()) {
    CHECK(!config_.embedding_norm());
    return embed_at(tape, tokens, token_embedding_, position_embedding_, options.positions);
  }
  const Dropout dropout = options.dropout.at(0);
  if (!config_.embedding_norm()) {
    return embed(tape, tokens, token_embedding_, position_embedding_, dropout, first_position);
  }
  ResidualStream sum;
  sum.residual =
      embed(tape, tokens, token_embedding_, position_embedding_, Dropout{}, first_position + config_.position_offset());
  if (segment_embedding_.defined()) {
    Tensor segments = options.segments;
    if (!segments.defined()) {
      segments = tape.context().empty(tokens.shape(), DType::kI32);
      fill_zero(tape.context(), segments);
    }
    sum.branch = embed(tape, segments, segment_embedding_, Parameter(), Dropout{});
  }
  return drop(tape, embedding_norm_.forward(tape, sum, Dropout{}).normed, dropout);
}

Variable Transformer::hidden(Tape& tape, const Tensor& tokens, const ForwardOptions& options) const {
  CHECK(token_embedding_.defined()) << "a model of images";
  const int64_t first_position = options.caches != nullptr ? options.caches->front().length : 0;
  BlockContext shared{options.dropout, options.rotary_table, options.first_key, options.end_key};
  if (!shared.rotary_table.defined()) {
    shared.rotary_table = rotary_positions(tape.context(), first_position + tokens.shape()[1]);
  }
  shared.positions = options.positions;
  mark(tape, options, embedding_unit_);
  return run_stack(tape, stack_, {embedded(tape, tokens, options, first_position), {}}, shared, options);
}

Variable Transformer::decoded(Tape& tape, const Tensor& tokens, const Variable& memory,
                              const ForwardOptions& options) const {
  CHECK(!decoder_.blocks.empty()) << "a model without a decoder";
  BlockContext shared{options.dropout, {}, {}, {}};
  shared.memory = memory;
  shared.memory_end = options.memory_end;
  const Dropout dropout = options.dropout.at(decoder_.blocks.front().place(-1));
  const Variable embedded = embed(tape, tokens, token_embedding_, {}, dropout);
  return run_stack(tape, decoder_, {embedded, {}}, shared, options);
}

Variable Transformer::patch_features(Tape& tape, const Tensor& patches) const {
  CHECK(class_token_.defined()) << "a model of tokens";
  const Context& context = tape.context();
  Tensor inputs = patches;
  if (class_token_.value().dtype() != patches.dtype()) {
    inputs = context.empty(patches.shape(), class_token_.value().dtype());
    convert(context, patches, inputs);
  }
  return patch_embedding_.forward(tape, tape.variable(inputs, false));
}

Variable Transformer::hidden_of_images(Tape& tape, const Tensor& patches, const ForwardOptions& options) const {
  mark(tape, options, embedding_unit_);
  Variable tokens = image_tokens(tape, patch_features(tape, patches), class_token_,
                                 options.without_positions ? Parameter() : position_embedding_);
  if (options.seen.defined()) {
    const int64_t pictures = patches.shape()[0];
    const Variable seen = select_rows(tape, tokens, options.seen);
    // A gradient has the same elements in any shape.
    tokens = {seen.value.reshape({pictures, options.seen.elements() / pictures, config_.width()}), seen.gradient};
  }
  const BlockContext shared{options.dropout, {}, {}, {}};
  return run_stack(tape, stack_, {drop(tape, tokens, options.dropout.at(0)), {}}, shared, options);
}

Variable Transformer::pooled(Tape& tape, const Variable& hidden) const {
  if (config_.pooling() == ModelConfig::MEAN_OF_PATCHES) return mean_of_patches(tape, hidden);
  const Shape& shape = hidden.value.shape();
  const Tensor first = integers_of(tape.context(), {shape[0]}, [&](int32_t* rows) {
    for (int64_t b = 0; b < shape[0]; ++b) rows[b] = static_cast<int32_t>(b * shape[1]);
  });
  return select_rows(tape, hidden, first);
}

Variable Transformer::run_stack(Tape& tape, const Stack& stack, ResidualStream stream, BlockContext shared,
                                const ForwardOptions& options) const {
  const bool last = stack.decoder || decoder_.blocks.empty();
  for (size_t i = 0; i < stack.blocks.size(); ++i) {
    mark(tape, options, stack.units[i]);
    if (i == 0 && stack.relative_table.defined()) {
      const int64_t queries = stream.residual.value.shape()[1];
      const int64_t before = options.caches != nullptr && stack.decoder ? options.caches->front().length : 0;
      const RelativeBuckets buckets{config_.relative_buckets(), config_.relative_distance(), !stack.decoder};
      shared.relative_bias = relative_bias(tape, stack.relative_table, buckets, queries, before + queries);
    }
    KeyValueCache* cache = options.caches != nullptr && last ? &(*options.caches)[i] : nullptr;
    const auto run = [block = &stack.blocks[i], shared, cache](Tape& inner, const ResidualStream& input) {
      return block->forward(inner, input, shared, cache);
    };
    stream = options.recompute ? recompute(tape, run, stream) : run(tape, stream);
  }
  mark(tape, options, stack.norm_unit);
  Variable output = stream.residual;
  if (stack.norm.defined()) {
    output = stack.norm.forward(tape, stream, options.dropout.at(stack.blocks.back().last_place())).normed;
  }
  if (last) mark(tape, options, output_unit_);
  return output;
}

Variable Transformer::head_input(Tape& tape, const Variable& rows) const {
  if (config_.scale_outputs()) {
    return scaled(tape, rows, 1.0f / std::sqrt(static_cast<float>(config_.width())));
  }
  if (!config_.head_transform()) return rows;
  CHECK(transform_.weight.defined()) << "declared without a head";
  const Variable dense = transform_.forward(tape, rows, elementwise(config_.activation()));
  // A norm wants samples, tokens, width; the gradient has the same elements in any shape.
  const Shape& shape = dense.value.shape();
  const Shape batch = shape.rank() == 3 ? shape : Shape{1, shape[0], shape[1]};
  return transform_norm_.forward(tape, {{dense.value.reshape(batch), dense.gradient}, {}}, Dropout{}).normed;
}

Variable Transformer::discriminated(Tape& tape, const Variable& rows) const {
  CHECK(discriminator_.weight.defined()) << "declared without a discriminator";
  return discriminator_.forward(tape, discriminator_dense_.forward(tape, rows, elementwise(config_.activation())));
}

Variable Transformer::pooler_output(Tape& tape, const Variable& rows) const {
  CHECK(pooler_.weight.defined()) << "a model without a pooler";
  return pooler_.forward(tape, rows, Activation::kTanh);
}

Tensor Transformer::logits(const Context& context, const Tensor& hidden) const {
  const Tensor weight = output_weight().value();
  const Tensor scores = context.empty({hidden.shape()[0], weight.shape()[0]}, DType::kF32);
  Tape tape(context, false);
  MatmulOptions product{.transpose_b = true};
  if (output_bias_.defined()) product.bias = output_bias_.value();
  matmul(context, as_matrix(head_input(tape, tape.variable(hidden, false)).value), weight, scores, product);
  const float cap = config_.logit_soft_cap();
  if (cap > 0.0f && context.operators() != nullptr) {
    const Tensor scaled_down = context.empty(scores.shape(), DType::kF32);
    const Tensor bounded = context.empty(scores.shape(), DType::kF32);
    take_columns(context, scores, 0, 1.0f / cap, scaled_down);
    activation_forward(context, Activation::kTanh, scaled_down, bounded);
    take_columns(context, bounded, 0, cap, scores);
  } else if (cap > 0.0f && !context.meta()) {
    float* values = scores.data<float>();
    for (int64_t i = 0; i < scores.elements(); ++i) values[i] = cap * std::tanh(values[i] / cap);
  }
  return scores;
}

std::vector<KeyValueCache> Transformer::make_caches(const Context& context, int64_t batch, int64_t capacity) const {
  const DType type = token_embedding_.value().dtype();
  const Shape shape{batch, capacity, int64_t{config_.key_heads()} * config_.head_dim()};
  std::vector<KeyValueCache> caches;
  for (size_t i = 0; i < (decoder_.blocks.empty() ? stack_ : decoder_).blocks.size(); ++i) {
    KeyValueCache cache{context.empty(shape, type), context.empty(shape, type), 0};
    // Nobody sees the padding before a text, but its values are multiplied by probabilities of zero: they must be
    // numbers.
    fill_zero(context, cache.keys);
    fill_zero(context, cache.values);
    caches.push_back(std::move(cache));
  }
  return caches;
}

Tensor Transformer::rotary_positions(const Context& context, int64_t positions) const {
  if (config_.position() != ModelConfig::ROTARY) return {};
  return rotary_table(context, positions, config_.head_dim(), config_.rope_theta(),
                      rotary_scaling(config_.rope_scaling()));
}

}  // namespace tsugi
