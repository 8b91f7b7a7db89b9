#include "core/nn/layers.h"

#include <cmath>

#include "core/autograd/low_rank.h"
#include "core/config/families.h"
#include "core/model/names.h"
#include "core/nn/adapter.h"

namespace tsugi {
namespace {

/// The parts of a packed weight or bias; none for what is one tensor in files too.
std::vector<ParameterPart> parts_of(const std::vector<std::string>& names, const std::vector<int64_t>& rows,
                                    const std::string& kind) {
  std::vector<ParameterPart> parts;
  if (names.size() == 1) return parts;
  for (size_t i = 0; i < names.size(); ++i) parts.push_back({names[i] + kind, rows[i]});
  return parts;
}

/// "a.q_proj", "a.k_proj" → "a.q_proj+k_proj": one tensor of ours.
std::string joined(const std::vector<std::string>& names) {
  std::string text = names.front();
  for (size_t i = 1; i < names.size(); ++i) {
    text += '+';
    text += names[i].substr(names[i].rfind('.') + 1);
  }
  return text;
}

/// A begins random, B zero, so that training begins with the weights as they are. The deviation is that of PEFT's
/// initial values (uniform within 1/sqrt(in)).
void declare_adapters(ParameterStore& store, const LinearOptions& options, Linear& layer) {
  const AdapterConfig& adapter = *options.adapter;
  const auto deviation = static_cast<float>(1.0 / std::sqrt(3.0 * static_cast<double>(options.in)));
  int64_t first = 0;
  for (size_t i = 0; i < options.names.size(); ++i) {
    if (is_adapted(adapter, options.names[i])) {
      const std::string name = kAdapterPrefix + options.names[i];
      LowRankAdapter one;
      one.down = store.add(name + kAdapterDown, {adapter.rank(), options.in},
                           {Initialization::Kind::kNormal, deviation}, true);
      one.up = store.add(name + kAdapterUp, {options.rows[i], adapter.rank()}, {Initialization::Kind::kZeros}, true);
      one.first = first;
      one.scale = adapter_scale(adapter);
      layer.adapters.push_back(one);
    }
    first += options.rows[i];
  }
}

Initialization initial_of(const LinearOptions& options) {
  Initialization initial{Initialization::Kind::kNormal, options.deviation};
  if (options.first_deviation > 0.0f) {
    CHECK(options.layout == WeightLayout::kOutIn);
    initial.first_elements = options.rows.front() * options.in;
    initial.first_deviation = options.first_deviation;
  }
  return initial;
}

/// The deviations of a block's initial values.
struct Deviations {
  float queries, keys_values, projection, expand, contract;
};

Deviations deviations_of(const ModelConfig& model) {
  const auto deviation = static_cast<float>(model.init_deviation());
  if (model.family() == ModelConfig::T5) {
    // mesh-tensorflow's, as in transformers' T5PreTrainedModel: 1/sqrt(inputs), and queries smaller instead of scores.
    const auto over_root = [&](int64_t inputs) { return deviation / std::sqrt(static_cast<float>(inputs)); };
    return {over_root(int64_t{model.width()} * model.head_dim()), over_root(model.width()),
            over_root(int64_t{model.heads()} * model.head_dim()), over_root(model.width()),
            over_root(model.mlp_width())};
  }
  const float residual =
      model.init_scales_residual() ? deviation / std::sqrt(2.0f * static_cast<float>(model.layers())) : deviation;
  return {deviation, deviation, residual, deviation, residual};
}

}  // namespace

Activation elementwise(ModelConfig::Activation activation) {
  switch (activation) {
    case ModelConfig::GELU_TANH:
      return Activation::kGelu;
    case ModelConfig::GELU_ERF:
      return Activation::kGeluErf;
    case ModelConfig::RELU:
      return Activation::kRelu;
    default:
      CHECK(activation == ModelConfig::RELU_SQUARED) << "not element by element: " << activation;
      return Activation::kReluSquared;
  }
}

Linear Linear::declare(ParameterStore& store, const LinearOptions& options) {
  int64_t out = 0;
  for (const int64_t rows : options.rows) out += rows;
  const std::string name = joined(options.names);
  const bool transposed = options.layout == WeightLayout::kOutIn;
  CHECK(transposed || options.names.size() == 1) << name;
  Linear layer;
  layer.layout = options.layout;
  layer.weight = store.add(name + ".weight", transposed ? Shape{out, options.in} : Shape{options.in, out},
                           initial_of(options), true, 0, parts_of(options.names, options.rows, ".weight"));
  if (options.bias) {
    layer.bias = store.add(name + ".bias", {out}, {Initialization::Kind::kZeros}, false, 0,
                           parts_of(options.names, options.rows, ".bias"));
  }
  if (options.adapter != nullptr) declare_adapters(store, options, layer);
  return layer;
}

Variable Linear::forward(Tape& tape, const Variable& x, Activation activation, bool only_for_linear) const {
  if (adapters.empty()) return linear(tape, x, weight, bias, activation, layout, only_for_linear);
  Variable y = linear(tape, x, weight, bias, Activation::kNone, layout);
  for (const LowRankAdapter& one : adapters) y = low_rank_update(tape, x, y, one.down, one.up, one.first, one.scale);
  return activation == Activation::kNone ? y : activate(tape, y, activation);
}

Bottleneck Bottleneck::declare(ParameterStore& store, const std::string& name, int64_t width, int64_t hidden,
                               float deviation) {
  LinearOptions options;
  options.layout = WeightLayout::kOutIn;
  options.names = {name + ".down"};
  options.in = width;
  options.rows = {hidden};
  options.deviation = deviation;
  Bottleneck adapter;
  adapter.down = Linear::declare(store, options);
  options.names = {name + ".up"};
  options.in = hidden;
  options.rows = {width};
  options.deviation = 0.0f;
  adapter.up = Linear::declare(store, options);
  return adapter;
}

Variable Bottleneck::forward(Tape& tape, const Variable& branch) const {
  return add(tape, branch, up.forward(tape, down.forward(tape, branch, Activation::kGelu)));
}

Norm Norm::declare(ParameterStore& store, const std::string& name, const ModelConfig& model) {
  Norm norm;
  norm.epsilon = static_cast<float>(model.norm_epsilon());
  norm.gamma = store.add(name + ".weight", {model.width()}, {Initialization::Kind::kOnes}, false);
  if (model.norm() == ModelConfig::LAYER_NORM) {
    norm.beta = store.add(name + ".bias", {model.width()}, {Initialization::Kind::kZeros}, false);
  }
  return norm;
}

Variable Attention::forward(Tape& tape, const Variable& x, const BlockContext& context, const Dropout& dropout,
                            KeyValueCache* cache) const {
  AttentionOptions options;
  options.heads = heads;
  options.key_heads = key_heads;
  options.causal = causal;
  options.window = window;
  options.first_key = context.first_key;
  options.end_key = context.end_key;
  options.scale = scale;
  options.relative_bias = context.relative_bias;
  options.dropout = dropout;
  options.rotary.table = context.rotary_table;
  options.rotary.positions = context.positions;
  options.rotary.query_gamma = query_gamma;
  options.rotary.key_gamma = key_gamma;
  options.rotary.epsilon = epsilon;
  return projection.forward(tape, self_attention(tape, qkv.forward(tape, x), options, cache));
}

Variable CrossAttention::forward(Tape& tape, const Variable& x, const BlockContext& context, const Dropout& dropout,
                                 KeyValueCache* cache) const {
  AttentionOptions options;
  options.heads = heads;
  options.causal = false;
  options.scale = scale;
  options.end_key = context.memory_end;
  options.dropout = dropout;
  Variable keys_and_values;
  if (cache != nullptr && cache->memory.defined()) {
    keys_and_values.value = cache->memory;
  } else {
    keys_and_values = keys_values.forward(tape, context.memory);
    if (cache != nullptr) cache->memory = keys_and_values.value;
  }
  return projection.forward(tape, cross_attention(tape, query.forward(tape, x), keys_and_values, options));
}

Variable Mlp::forward(Tape& tape, const Variable& x) const {
  if (activation == ModelConfig::SWIGLU || activation == ModelConfig::GATED_GELU) {
    const Activation gate = activation == ModelConfig::SWIGLU ? Activation::kSilu : Activation::kGelu;
    return contract.forward(tape, gated_activation(tape, expand.forward(tape, x), gate));
  }
  const bool only_for_linear = contract.adapters.empty();
  return contract.forward(tape, expand.forward(tape, x, elementwise(activation), only_for_linear));
}

Block Block::declare(ParameterStore& store, const std::string& name, int64_t index, const ModelConfig& model,
                     const AdapterConfig& adapter, bool decoder) {
  const BlockNames names = block_names(name, model);
  const Deviations deviations = deviations_of(model);
  const int64_t width = model.width();
  const int64_t queries = int64_t{model.heads()} * model.head_dim();
  const int64_t keys = int64_t{model.key_heads()} * model.head_dim();
  const bool gpt2 = model.family() == ModelConfig::GPT2;
  LinearOptions options;
  options.layout = gpt2 ? WeightLayout::kInOut : WeightLayout::kOutIn;
  if (adapter.rank() > 0) options.adapter = &adapter;
  const auto declare = [&](const std::vector<std::string>& tensors, int64_t in, std::vector<int64_t> rows, bool bias,
                           float with_deviation, float first_deviation = 0.0f) {
    options.names = tensors;
    options.in = in;
    options.rows = std::move(rows);
    options.bias = bias;
    options.deviation = with_deviation;
    options.first_deviation = first_deviation;
    return Linear::declare(store, options);
  };

  Block block;
  constexpr int64_t kPlaces = 3;
  constexpr int64_t kDecoderPlaces = 5;
  block.first_place = decoder ? 2 + kPlaces * model.layers() + kDecoderPlaces * index : 1 + kPlaces * index;
  block.post_norm = model.post_norm();
  if (adapter.bottleneck() > 0) {
    block.mlp_adapter =
        Bottleneck::declare(store, name + kMlpBottleneck, width, adapter.bottleneck(), deviations.expand);
    if (adapter.placement() == AdapterConfig::BOTH) {
      block.attention_adapter =
          Bottleneck::declare(store, name + kAttentionBottleneck, width, adapter.bottleneck(), deviations.expand);
    }
  }
  block.mlp.activation = model.activation();
  block.mlp.contract = declare({names.contract}, model.mlp_width(), {width}, model.mlp_bias(), deviations.contract);
  block.mlp.expand = declare(names.expand, width, std::vector<int64_t>(names.expand.size(), model.mlp_width()),
                             model.mlp_bias(), deviations.expand);
  block.mlp_norm = Norm::declare(store, names.mlp_norm, model);

  const float score_scale = model.position() == ModelConfig::RELATIVE ? 1.0f : 0.0f;
  const float first_deviation = deviations.queries == deviations.keys_values ? 0.0f : deviations.queries;
  if (decoder) {
    block.cross.heads = model.heads();
    block.cross.scale = score_scale;
    block.cross.projection =
        declare({names.cross_projection}, queries, {width}, model.projection_bias(), deviations.projection);
    block.cross.keys_values =
        declare(names.cross_keys_values, width, {keys, keys}, model.qkv_bias(), deviations.keys_values);
    block.cross.query = declare({names.cross_query}, width, {queries}, model.qkv_bias(), deviations.queries);
    block.cross_norm = Norm::declare(store, names.cross_norm, model);
  }

  Attention& attention = block.attention;
  attention.heads = model.heads();
  attention.key_heads = model.key_heads();
  attention.window = attention_window(model, index);
  attention.causal = !model.bidirectional() && (decoder || !has_decoder(model));
  attention.scale = score_scale;
  attention.epsilon = static_cast<float>(model.norm_epsilon());
  attention.projection = declare({names.projection}, queries, {width}, model.projection_bias(), deviations.projection);
  if (model.qk_norm()) {
    const Initialization ones{Initialization::Kind::kOnes};
    attention.query_gamma = store.add(name + ".self_attn.q_norm.weight", {model.head_dim()}, ones, false);
    attention.key_gamma = store.add(name + ".self_attn.k_norm.weight", {model.head_dim()}, ones, false);
  }
  attention.qkv =
      declare(names.qkv, width, gpt2 ? std::vector<int64_t>{3 * width} : std::vector<int64_t>{queries, keys, keys},
              model.qkv_bias(), deviations.keys_values, first_deviation);
  block.attention_norm = Norm::declare(store, names.attention_norm, model);
  return block;
}

ResidualStream Block::forward(Tape& tape, const ResidualStream& stream, const BlockContext& context,
                              KeyValueCache* cache) const {
  const DropoutSource& dropout = context.dropout;
  const auto adapted = [&](const Bottleneck& adapter, const Variable& branch) {
    return adapter.defined() ? adapter.forward(tape, branch) : branch;
  };
  if (post_norm) {
    const Variable attended =
        adapted(attention_adapter, attention.forward(tape, stream.residual, context, dropout.at(place(0)), cache));
    const Variable middle = attention_norm.forward(tape, {stream.residual, attended}, dropout.at(place(1))).normed;
    const Variable last = adapted(mlp_adapter, mlp.forward(tape, middle));
    return {mlp_norm.forward(tape, {middle, last}, dropout.at(place(2))).normed, {}};
  }
  // The branch that arrives is the MLP's of the block before (or nothing in the first block).
  const ResidualNorm before = attention_norm.forward(tape, stream, dropout.at(place(-1)));
  const Variable attended =
      adapted(attention_adapter, attention.forward(tape, before.normed, context, dropout.at(place(0)), cache));
  ResidualNorm middle;
  if (cross.defined()) {
    const ResidualNorm between = cross_norm.forward(tape, {before.residual, attended}, dropout.at(place(1)));
    const Variable found = cross.forward(tape, between.normed, context, dropout.at(place(2)), cache);
    middle = mlp_norm.forward(tape, {between.residual, found}, dropout.at(place(3)));
  } else {
    middle = mlp_norm.forward(tape, {before.residual, attended}, dropout.at(place(1)));
  }
  return {middle.residual, adapted(mlp_adapter, mlp.forward(tape, middle.normed))};
}

}  // namespace tsugi
