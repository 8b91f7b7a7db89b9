#include "core/objective/replaced_tokens.h"

#include <algorithm>

#include "core/config/families.h"
#include "core/nn/accuracy.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"
#include "ops/replaced_tokens/replaced_tokens.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr uint32_t kDrawSite = 0x52540000;
constexpr uint64_t kGeneratorDropout = 0x47E7;

/// The text that the discriminator sees, and what it is to say of each token.
struct ReplacedText {
  Tensor tokens;   ///< i32 [B, T]
  Tensor answers;  ///< i32 [B·T]: 1 where a token is another than it was, kIgnoreIndex at padding
};

ReplacedText put_in_place(const Context& context, const Batch& batch, const Tensor& drawn) {
  const Shape& shape = batch.tokens.shape();
  ReplacedText text{context.empty(shape, DType::kI32), context.empty({shape.elements()}, DType::kI32)};
  replace_tokens(context, {batch.tokens, batch.positions, batch.targets, batch.first_key, batch.end_key}, drawn,
                 text.tokens, text.answers);
  return text;
}

}  // namespace

ReplacedTokens::ReplacedTokens(const ReplacedTokenDetection& config, const ModelConfig& model, double hidden_share)
    : config_(config), hidden_share_(hidden_share), model_(model), generator_(model) {
  CHECK(model.discriminator() && hidden_share > 0.0);
  generator_.set_width(config.generator_width());
  generator_.set_heads(config.generator_heads());
  generator_.set_key_heads(config.generator_heads());
  generator_.set_head_dim(config.generator_width() / config.generator_heads());
  generator_.set_mlp_width(static_cast<int32_t>(
      std::max<int64_t>(int64_t{model.mlp_width()} * config.generator_width() / model.width(), 1)));
  generator_.set_layers(config.generator_layers());
}

void ReplacedTokens::declare(ParameterStore& store) {
  const size_t first = store.tensors().size();
  const std::string name = "generator.";
  const int64_t width = generator_.width();
  const auto linear_layer = [&](const char* part, int64_t in, int64_t out) {
    return Linear::declare(store, {.names = {name + part},
                                   .in = in,
                                   .rows = {out},
                                   .deviation = static_cast<float>(model_.init_deviation()),
                                   .layout = WeightLayout::kOutIn});
  };
  const int64_t padded = (model_.vocabulary() + kVocabularyPadding - 1) / kVocabularyPadding * kVocabularyPadding;
  bias_ = store.add(name + "bias", {model_.vocabulary()}, {Initialization::Kind::kZeros}, false, padded);
  transform_norm_ = Norm::declare(store, name + "transform_norm", model_);
  transform_ = linear_layer("transform", width, model_.width());
  blocks_.resize(static_cast<size_t>(generator_.layers()));
  for (size_t i = blocks_.size(); i-- > 0;) {
    const auto index = static_cast<int64_t>(i);
    blocks_[i] = Block::declare(store, name + "layer." + std::to_string(i), index, generator_, {});
  }
  if (width != model_.width()) entrance_ = linear_layer("entrance", model_.width(), width);
  store.end_unit();
  store.add_prefix(kObjectivePrefix, first);
}

Variable ReplacedTokens::restored(Tape& tape, const Transformer& model, const Batch& batch,
                                  const ForwardOptions& options) const {
  Variable x = model.embedded(tape, batch.tokens, options);
  if (entrance_.weight.defined()) x = entrance_.forward(tape, x);
  ResidualStream stream{x, {}};
  const BlockContext shared{options.dropout, {}, batch.first_key, batch.end_key};
  for (const Block& block : blocks_) stream = block.forward(tape, stream, shared);
  const Variable dense =
      transform_.forward(tape, select_rows(tape, stream.residual, batch.positions), elementwise(model_.activation()));
  const Shape& shape = dense.value.shape();
  // A norm wants samples, tokens, width; the gradient has the same elements in any shape.
  const Variable one{dense.value.reshape({1, shape[0], shape[1]}), dense.gradient};
  return transform_norm_.forward(tape, {one, {}}, Dropout{}).normed;
}

/// What both passes give.
struct ReplacedTokens::Passes {
  Variable rows;   ///< of the generator
  LossSum masked;  ///< its loss
  ReplacedText text;
  Variable scores;  ///< of the discriminator, [B, T, 1]
  LossSum told;     ///< its loss, not weighted
};

ReplacedTokens::Passes ReplacedTokens::run(Tape& tape, const Transformer& model, const Batch& batch,
                                           const ForwardOptions& options, uint64_t seed) const {
  const Context& context = tape.context();
  const int64_t vocabulary = model_.vocabulary();
  // The generator comes first, but its gradients must be complete first, too: it has a tape of its own, which the
  // backward pass meets first.
  const auto generating = std::make_shared<Tape>(context, tape.recording());
  ForwardOptions of_generator = options;
  of_generator.dropout.seed ^= kGeneratorDropout;
  Passes passes;
  passes.rows = restored(*generating, model, batch, of_generator);
  const Tensor drawn = draw_tokens(context, as_matrix(passes.rows.value), model.token_embedding(), bias_, vocabulary,
                                   seed, batch.first_sample, batch.positions.elements() / batch.tokens.shape()[0]);
  passes.masked =
      cross_entropy_loss(*generating, passes.rows, model.token_embedding(), batch.targets, vocabulary, {}, {}, bias_);
  passes.text = put_in_place(context, batch, drawn);
  ForwardOptions seeing = options;
  seeing.first_key = batch.first_key;
  seeing.end_key = batch.end_key;
  passes.scores = model.discriminated(tape, model.hidden(tape, passes.text.tokens, seeing));
  const auto weight = static_cast<float>(static_cast<double>(config_.weight()) * hidden_share_);
  passes.told = binary_cross_entropy_loss(tape, passes.scores, passes.text.answers, weight);
  tape.record([generating] { generating->backward(); });
  return passes;
}

LossSum ReplacedTokens::loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options,
                             uint64_t seed) const {
  const Passes passes = run(tape, model, batch, options, seed);
  LossSum loss = passes.masked;
  loss.sum += static_cast<double>(config_.weight()) * hidden_share_ * passes.told.sum;
  return loss;
}

std::vector<std::string> ReplacedTokens::names() {
  return {"generator_loss", "generator_accuracy", "discriminator_accuracy", "replaced_found", "discriminator_auc"};
}

EvaluationSum ReplacedTokens::evaluate(Tape& tape, const Transformer& model, const Batch& batch, uint64_t seed) const {
  const Context& context = tape.context();
  const Passes passes = run(tape, model, batch, {}, seed);
  EvaluationSum result;
  result.loss = passes.masked;
  result.loss.sum += static_cast<double>(config_.weight()) * hidden_share_ * passes.told.sum;
  const int64_t restored = count_right(context, as_matrix(passes.rows.value), model.token_embedding(), bias_,
                                       batch.targets, model_.vocabulary());
  const Tensor scores = context.empty({passes.scores.value.elements()}, DType::kF32);
  convert(context, passes.scores.value.reshape(scores.shape()), scores);
  const auto hidden = static_cast<double>(passes.masked.count);
  Average right;
  Average found;
  Average order;
  if (!context.meta()) {
    const auto count = static_cast<size_t>(scores.elements());
    const Tensor host_scores = on_host(context, scores);
    const Tensor host_answers = on_host(context, passes.text.answers);
    const std::span<const float> x(host_scores.data<float>(), count);
    const std::span<const int32_t> answers(host_answers.data<int32_t>(), count);
    for (size_t i = 0; i < count; ++i) {
      if (answers[i] == kIgnoreIndex) continue;
      const bool yes = x[i] > 0.0f;
      right.add(yes == (answers[i] == 1) ? 1.0 : 0.0, 1.0);
      if (answers[i] == 1) found.add(yes ? 1.0 : 0.0, 1.0);
    }
    order = pairs_in_order(x, answers);
  }
  result.scores = {{passes.masked.sum, hidden}, {static_cast<double>(restored), hidden}, right, found, order};
  return result;
}

Tensor draw_tokens(const Context& context, const Tensor& rows, const Parameter& table, const Parameter& bias,
                   int64_t vocabulary, uint64_t seed, uint64_t first_sample, int64_t rows_per_sample) {
  const Tensor weight = table.value();
  const int64_t all = rows.shape()[0];
  const int64_t columns = weight.shape()[0];
  const int64_t step = cross_entropy_chunk_rows(all, columns);
  const Tensor scores = context.empty({step, columns}, DType::kF32);
  const Tensor drawn = context.empty({all}, DType::kI32);
  for (int64_t begin = 0; begin < all; begin += step) {
    const int64_t count = std::min(step, all - begin);
    const Tensor some = scores.slice(0, {count, columns});
    matmul(context, rows.slice(begin * rows.shape()[1], {count, rows.shape()[1]}), weight, some,
           {.transpose_b = true, .bias = bias.value()});
    draw_rows(context, some, vocabulary, {seed, kDrawSite, first_sample, rows_per_sample}, begin,
              drawn.slice(begin, {count}));
  }
  return drawn;
}

Average pairs_in_order(std::span<const float> scores, std::span<const int32_t> answers) {
  std::vector<std::pair<float, int32_t>> sorted;
  for (size_t i = 0; i < scores.size(); ++i) {
    if (answers[i] != kIgnoreIndex) sorted.emplace_back(scores[i], answers[i]);
  }
  std::ranges::sort(sorted);
  double below = 0.0;  // noes among lower scores
  double yes = 0.0;
  Average result;
  for (size_t begin = 0; begin < sorted.size();) {
    size_t end = begin;
    double equal_yes = 0.0;
    while (end < sorted.size() && sorted[end].first == sorted[begin].first) equal_yes += sorted[end++].second;
    const double equal_no = static_cast<double>(end - begin) - equal_yes;
    result.sum += equal_yes * (below + 0.5 * equal_no);
    below += equal_no;
    yes += equal_yes;
    begin = end;
  }
  result.count = yes * below;
  return result;
}

}  // namespace tsugi
