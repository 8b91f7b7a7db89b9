#include "core/objective/replaced_tokens.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/config/families.h"
#include "core/nn/accuracy.h"
#include "ops/base/error.h"
#include "ops/matmul/matmul.h"
#include "ops/reduce/reduce.h"

namespace tsugi {
namespace {

constexpr uint32_t kDrawSite = 0x52540000;
constexpr uint64_t kGeneratorDropout = 0x47E7;

/// The text that the discriminator sees, and what it is to say of each token.
struct ReplacedText {
  Tensor tokens;   ///< i32 [B, T]
  Tensor answers;  ///< i32 [B·T]: 1 where a token is another than it was, kIgnoreIndex at padding
};

bool is_padding(const Batch& batch, int64_t row, int64_t t) {
  if (!batch.end_key.defined()) return false;
  const int64_t length = batch.tokens.shape()[1];
  const int32_t* const end = batch.end_key.data<int32_t>() + row * length;
  if (!batch.first_key.defined()) return t >= end[0];
  // A token that sees itself alone; a document of one token is passed over like padding.
  return end[t] == t + 1 && batch.first_key.data<int32_t>()[row * length + t] == t;
}

ReplacedText put_in_place(const Context& context, const Batch& batch, const Tensor& drawn) {
  const int64_t rows = batch.tokens.shape()[0];
  const int64_t length = batch.tokens.shape()[1];
  ReplacedText text{context.empty(batch.tokens.shape(), DType::kI32), context.empty({rows * length}, DType::kI32)};
  if (context.meta()) return text;
  std::copy_n(batch.tokens.data<int32_t>(), rows * length, text.tokens.data<int32_t>());
  int32_t* const answers = text.answers.data<int32_t>();
  const int64_t room = batch.positions.elements() / rows;
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t* const originals = batch.targets.data<int32_t>() + row * room;
    // A row without hidden tokens fills up the last batch of validation.
    const bool empty = std::all_of(originals, originals + room, [](int32_t id) { return id == kIgnoreIndex; });
    for (int64_t t = 0; t < length; ++t) {
      answers[row * length + t] = empty || is_padding(batch, row, t) ? kIgnoreIndex : 0;
    }
    for (int64_t i = 0; i < room; ++i) {
      if (originals[i] == kIgnoreIndex) continue;
      const int32_t place = batch.positions.data<int32_t>()[row * room + i];
      const int32_t token = drawn.data<int32_t>()[row * room + i];
      text.tokens.data<int32_t>()[place] = token;
      answers[place] = token == originals[i] ? 0 : 1;
    }
  }
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
    const std::span<const float> x(scores.data<float>(), count);
    const std::span<const int32_t> answers(passes.text.answers.data<int32_t>(), count);
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
  if (context.operators() != nullptr) {
    throw Error(ExitCode::kUsage, "objective.replaced_token_detection is not built for CUDA",
                "set compute.device: CPU");
  }
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
    if (context.meta()) continue;
    context.pool().for_each(count, [&](int64_t i, int) {
      const int64_t row = begin + i;
      const RandomStream stream{seed, first_sample + static_cast<uint64_t>(row / rows_per_sample), kDrawSite};
      const auto first = static_cast<uint64_t>(row % rows_per_sample) * static_cast<uint64_t>(columns / 4);
      const float* const x = some.data<float>() + i * columns;
      float best = -std::numeric_limits<float>::infinity();
      int32_t token = 0;
      Philox4 words{};
      for (int64_t v = 0; v < vocabulary; ++v) {
        if (v % 4 == 0) words = stream.block(static_cast<uint32_t>(first + static_cast<uint64_t>(v / 4)));
        const float noisy = x[v] - std::log(-std::log(uniform_open(words[static_cast<size_t>(v % 4)])));
        if (noisy > best) {
          best = noisy;
          token = static_cast<int32_t>(v);
        }
      }
      drawn.data<int32_t>()[row] = token;
    });
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
