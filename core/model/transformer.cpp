#include "core/model/transformer.h"

#include <cmath>

namespace tsugi {
namespace {

// Radford et al. 2019 (released code): every matrix from N(0, 0.02), residual projections divided by sqrt(2·layers).
constexpr float kDeviation = 0.02f;

}  // namespace

Transformer::Transformer(const ModelConfig& config, ParameterStore& store) : config_(config) {
  CHECK_GT(config.vocabulary(), 0);
  const int64_t width = config.width();
  const auto layers = static_cast<size_t>(config.layers());
  final_norm_ = LayerNorm::declare(store, "transformer.ln_f", width);
  final_norm_unit_ = store.end_unit();

  blocks_.resize(layers);
  block_units_.resize(layers);
  const float residual_deviation = kDeviation / std::sqrt(2.0f * static_cast<float>(config.layers()));
  for (size_t i = layers; i-- > 0;) {
    blocks_[i] = Block::declare(store, "transformer.h." + std::to_string(i), static_cast<int64_t>(i), width,
                                config.heads(), kDeviation, residual_deviation);
    block_units_[i] = store.end_unit();
  }

  const Initialization normal{Initialization::Kind::kNormal, kDeviation};
  const int64_t padded = (config.vocabulary() + kVocabularyPadding - 1) / kVocabularyPadding * kVocabularyPadding;
  position_embedding_ = store.add("transformer.wpe.weight", {config.context(), width}, normal, true);
  token_embedding_ = store.add("transformer.wte.weight", {config.vocabulary(), width}, normal, true, padded);
  embedding_unit_ = store.end_unit();
}

Variable Transformer::hidden(Tape& tape, const Tensor& tokens, const ForwardOptions& options) const {
  // Backward meets these marks after everything that was recorded behind them.
  const auto mark = [&](int unit) {
    if (options.on_unit_complete) tape.record([call = options.on_unit_complete, unit] { call(unit); });
  };
  const Dropout embedding_dropout = options.dropout.at(0);
  mark(embedding_unit_);
  ResidualStream stream;
  const int64_t first_position = options.caches != nullptr ? options.caches->front().length : 0;
  stream.residual = embed(tape, tokens, token_embedding_, position_embedding_, embedding_dropout, first_position);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    mark(block_units_[i]);
    KeyValueCache* cache = options.caches != nullptr ? &(*options.caches)[i] : nullptr;
    const auto run = [block = &blocks_[i], dropout = options.dropout, cache](Tape& inner, const ResidualStream& input) {
      return block->forward(inner, input, dropout, cache);
    };
    stream = options.recompute ? recompute(tape, run, stream) : run(tape, stream);
  }
  mark(final_norm_unit_);
  return final_norm_.forward(tape, stream, options.dropout.at(blocks_.back().place(2))).normed;
}

}  // namespace tsugi
