#include "core/nn/layers.h"

namespace tsugi {
namespace {

Initialization normal(float deviation) { return {Initialization::Kind::kNormal, deviation}; }

}  // namespace

Linear Linear::declare(ParameterStore& store, const std::string& name, int64_t in, int64_t out, float deviation) {
  Linear layer;
  layer.weight = store.add(name + ".weight", {in, out}, normal(deviation), true);
  layer.bias = store.add(name + ".bias", {out}, {Initialization::Kind::kZeros}, false);
  return layer;
}

LayerNorm LayerNorm::declare(ParameterStore& store, const std::string& name, int64_t width) {
  LayerNorm layer;
  layer.gamma = store.add(name + ".weight", {width}, {Initialization::Kind::kOnes}, false);
  layer.beta = store.add(name + ".bias", {width}, {Initialization::Kind::kZeros}, false);
  return layer;
}

Block Block::declare(ParameterStore& store, const std::string& name, int64_t index, int64_t width, int64_t heads,
                     float deviation, float residual_deviation) {
  Block block;
  block.index = index;
  block.heads = heads;
  block.contract = Linear::declare(store, name + ".mlp.c_proj", 4 * width, width, residual_deviation);
  block.expand = Linear::declare(store, name + ".mlp.c_fc", width, 4 * width, deviation);
  block.mlp_norm = LayerNorm::declare(store, name + ".ln_2", width);
  block.attention_projection = Linear::declare(store, name + ".attn.c_proj", width, width, residual_deviation);
  block.qkv = Linear::declare(store, name + ".attn.c_attn", width, 3 * width, deviation);
  block.attention_norm = LayerNorm::declare(store, name + ".ln_1", width);
  return block;
}

ResidualStream Block::forward(Tape& tape, const ResidualStream& stream, const DropoutSource& dropout,
                              KeyValueCache* cache) const {
  // The branch that arrives is the MLP's of the block before (or nothing in the first block).
  const ResidualNorm before = attention_norm.forward(tape, stream, dropout.at(place(-1)));
  AttentionOptions options;
  options.heads = heads;
  options.dropout = dropout.at(place(0));
  const Variable attended = self_attention(tape, qkv.forward(tape, before.normed), options, cache);
  const Variable projected = attention_projection.forward(tape, attended);
  const ResidualNorm middle = mlp_norm.forward(tape, {before.residual, projected}, dropout.at(place(1)));
  const Variable expanded = expand.forward(tape, middle.normed, Activation::kGelu);
  return {middle.residual, contract.forward(tape, expanded)};
}

}  // namespace tsugi
