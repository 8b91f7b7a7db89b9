#include "core/objective/classification.h"

#include <algorithm>

#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr uint64_t kShuffleStream = 0xC1A55;

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
                               int64_t labels, int64_t sequence, uint64_t seed, bool bidirectional)
    : train_(std::move(train)),
      validation_(std::move(validation)),
      labels_(labels),
      sequence_(sequence),
      seed_(seed),
      bidirectional_(bidirectional) {
  if (train_.empty()) throw Error(ExitCode::kData, "there are no labelled texts to train on");
  for (const auto* examples : {&train_, &validation_}) {
    for (const LabelledTokens& example : *examples) {
      CHECK(example.label >= 0 && example.label < labels) << "label " << example.label << " of " << labels;
    }
  }
}

void Classification::declare_heads(ParameterStore& store, const ModelConfig& config) {
  CHECK_EQ(bidirectional_, config.bidirectional());
  head_ = ClassifierHead(store, config, labels_);
  store.end_unit();
}

Batch Classification::batch_shape(int64_t rows, Documents documents) const {
  (void)documents;  // a text is a row
  Batch batch = shape_of_batch(rows, sequence_);
  batch.targets = Tensor::view(nullptr, {rows}, DType::kI32);
  batch.positions = Tensor::view(nullptr, {rows}, DType::kI32);
  if (bidirectional_) batch.end_key = Tensor::view(nullptr, {rows, sequence_}, DType::kI32);
  return batch;
}

Batch Classification::fill(const std::vector<LabelledTokens>& examples, const std::vector<int64_t>& rows,
                           int64_t count) const {
  Batch batch;
  batch.tokens = host_integers({count, sequence_});
  batch.targets = host_integers({count});
  batch.positions = host_integers({count});
  if (bidirectional_) {
    batch.end_key = host_integers({count, sequence_});
    std::fill_n(batch.end_key.data<int32_t>(), count * sequence_, 1);
  }
  std::fill_n(batch.tokens.data<int32_t>(), count * sequence_, 0);
  std::fill_n(batch.targets.data<int32_t>(), count, kIgnoreIndex);
  for (int64_t row = 0; row < count; ++row) {
    batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * sequence_);
    if (row >= static_cast<int64_t>(rows.size())) continue;
    const LabelledTokens& example = examples[static_cast<size_t>(rows[static_cast<size_t>(row)])];
    const int64_t length = std::min<int64_t>(static_cast<int64_t>(example.tokens.size()), sequence_);
    std::copy_n(example.tokens.begin(), length, batch.tokens.data<int32_t>() + row * sequence_);
    if (!bidirectional_) {
      batch.positions.data<int32_t>()[row] = static_cast<int32_t>(row * sequence_ + std::max<int64_t>(length, 1) - 1);
    } else {
      std::fill_n(batch.end_key.data<int32_t>() + row * sequence_, sequence_,
                  static_cast<int32_t>(std::max<int64_t>(length, 1)));
    }
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

Variable Classification::features(Tape& tape, const Transformer& model, const Batch& batch,
                                  ForwardOptions options) const {
  options.end_key = batch.end_key;
  return head_.features(tape, select_rows(tape, model.hidden(tape, batch.tokens, options), batch.positions));
}

LossSum Classification::loss(Tape& tape, const Transformer& model, const Batch& batch,
                             const ForwardOptions& options) const {
  return head_.loss(tape, features(tape, model, batch, options), batch.targets);
}

EvaluationSum Classification::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Variable rows = features(tape, model, batch, {});
  EvaluationSum sum;
  sum.loss = head_.loss(tape, rows, batch.targets);
  sum.correct = head_.count_right(tape.context(), rows.value, batch.targets);
  return sum;
}

std::map<std::string, std::string> Classification::fingerprint() const {
  return {{"training data", std::to_string(hash_of(train_))},
          {"validation data", std::to_string(hash_of(validation_))}};
}

}  // namespace tsugi
