#include "core/objective/classification.h"

#include <algorithm>

#include "ops/base/error.h"
#include "ops/matmul/matmul.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr uint64_t kShuffleStream = 0xC1A55;
constexpr float kHeadDeviation = 0.02f;

uint64_t hash_of(const std::vector<LabelledTokens>& examples) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  const auto mix = [&](int32_t value) { hash = (hash ^ static_cast<uint32_t>(value)) * 0x100000001b3; };
  for (const LabelledTokens& example : examples) {
    mix(example.label);
    for (const int32_t token : example.tokens) mix(token);
  }
  return hash;
}

}  // namespace

Classification::Classification(std::vector<LabelledTokens> train, std::vector<LabelledTokens> validation,
                               int64_t labels, int64_t sequence, uint64_t seed)
    : train_(std::move(train)), validation_(std::move(validation)), labels_(labels), sequence_(sequence), seed_(seed) {
  if (train_.empty()) throw Error(ExitCode::kData, "there are no labelled texts to train on");
  for (const auto* examples : {&train_, &validation_}) {
    for (const LabelledTokens& example : *examples) {
      CHECK(example.label >= 0 && example.label < labels) << "label " << example.label << " of " << labels;
    }
  }
}

void Classification::declare_heads(ParameterStore& store, const ModelConfig& config) {
  const int64_t padded = (labels_ + kVocabularyPadding - 1) / kVocabularyPadding * kVocabularyPadding;
  head_ = store.add("score.weight", {labels_, config.width()}, {Initialization::Kind::kNormal, kHeadDeviation}, true,
                    padded);
  store.end_unit();
}

Batch Classification::fill(const std::vector<LabelledTokens>& examples, const std::vector<int64_t>& rows,
                           int64_t count) const {
  Batch batch;
  batch.tokens = host_integers({count, sequence_});
  batch.targets = host_integers({count});
  batch.positions = host_integers({count});
  std::fill_n(batch.tokens.data<int32_t>(), count * sequence_, 0);
  std::fill_n(batch.targets.data<int32_t>(), count, kIgnoreIndex);
  for (int64_t row = 0; row < count; ++row) {
    batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * sequence_);
    if (row >= static_cast<int64_t>(rows.size())) continue;
    const LabelledTokens& example = examples[static_cast<size_t>(rows[static_cast<size_t>(row)])];
    const int64_t length = std::min<int64_t>(static_cast<int64_t>(example.tokens.size()), sequence_);
    std::copy_n(example.tokens.begin(), length, batch.tokens.data<int32_t>() + row * sequence_);
    batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * sequence_ + std::max<int64_t>(length, 1) - 1);
    batch.targets.data<int32_t>()[row] = example.label;
  }
  return batch;
}

Batch Classification::training_batch(uint64_t first_sample, int64_t count) const {
  const uint64_t size = train_.size();
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t index = first_sample + static_cast<uint64_t>(row);
    rows.push_back(static_cast<int64_t>(permute_index(index % size, size, seed_, kShuffleStream + index / size)));
  }
  Batch batch = fill(train_, rows, count);
  batch.first_sample = first_sample;
  return batch;
}

int64_t Classification::validation_batches(int64_t count, int64_t limit) const {
  const auto all = static_cast<int64_t>(validation_.size());
  return ((limit > 0 ? std::min(limit, all) : all) + count - 1) / count;
}

Batch Classification::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const auto all = static_cast<int64_t>(validation_.size());
  const int64_t end = std::min((index + 1) * count, limit > 0 ? std::min(limit, all) : all);
  std::vector<int64_t> rows;
  for (int64_t row = index * count; row < end; ++row) rows.push_back(row);
  return fill(validation_, rows, count);
}

LossSum Classification::loss(Tape& tape, const Transformer& model, const Batch& batch,
                             const ForwardOptions& options) const {
  const Variable last = select_rows(tape, model.hidden(tape, batch.tokens, options), batch.positions);
  return cross_entropy_loss(tape, last, head_, batch.targets, labels_);
}

EvaluationSum Classification::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Context& context = tape.context();
  const Variable last = select_rows(tape, model.hidden(tape, batch.tokens, ForwardOptions{}), batch.positions);
  EvaluationSum sum;
  sum.loss = cross_entropy_loss(tape, last, head_, batch.targets, labels_);
  const Tensor weight = head_.value();
  const Tensor logits = context.empty({last.value.shape()[0], weight.shape()[0]}, DType::kF32);
  matmul(context, last.value, weight, logits, {.transpose_b = true});
  if (context.meta()) return sum;
  const Tensor host_logits = on_host(context, logits);
  const Tensor host_targets = on_host(context, batch.targets);
  for (int64_t row = 0; row < logits.shape()[0]; ++row) {
    const float* scores = host_logits.data<float>() + row * logits.shape()[1];
    const int64_t best = std::max_element(scores, scores + labels_) - scores;
    sum.correct += best == host_targets.data<int32_t>()[row];
  }
  return sum;
}

std::map<std::string, std::string> Classification::fingerprint() const {
  return {{"training data", std::to_string(hash_of(train_))},
          {"validation data", std::to_string(hash_of(validation_))}};
}

}  // namespace tsugi
