#include "core/objective/masked_lm.h"

#include <algorithm>
#include <vector>

#include "core/nn/accuracy.h"
#include "ops/tensor/philox.h"

namespace tsugi {
namespace {

constexpr uint32_t kChoiceSite = 0x4D530000;
constexpr uint32_t kFateSite = 0x4D530001;
constexpr uint64_t kValidationSeed = 0x4D41534B;

/// Tokens of a row before its padding. Padding predicts nothing, and neither does the last token of a document before
/// it; a row of nothing else is empty.
int64_t used_places(const int32_t* next, int64_t sequence) {
  int64_t end = sequence;
  while (end > 0 && next[end - 1] == kIgnoreIndex) --end;
  return end == 0 ? 0 : std::min(end + 1, sequence);
}

/// For each token of a row where its document ends; its first keys say where documents begin.
void fill_ends(const int32_t* first_key, int64_t used, int64_t sequence, int32_t* end_key) {
  int64_t end = used;
  for (int64_t t = used; t-- > 0;) {
    end_key[t] = static_cast<int32_t>(end);
    if (first_key != nullptr && first_key[t] == t) end = t;
  }
  for (int64_t t = used; t < sequence; ++t) end_key[t] = static_cast<int32_t>(t + 1);
}

/// The model's outputs at the positions, ready for the projection.
Variable scored_rows(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) {
  options.first_key = batch.first_key;
  options.end_key = batch.end_key;
  return masked_rows(tape, model, model.hidden(tape, batch.tokens, options), batch.positions);
}

}  // namespace

MaskedLm::MaskedLm(LanguageData data, int64_t sequence, uint64_t seed, Masking masking)
    : train_(std::move(data.train), data.packing, data.documents, masking.vocabulary, sequence, seed),
      validation_(std::move(data.validation)),
      sequence_(sequence),
      seed_(seed),
      documents_(data.documents),
      padded_(data.packing != Packing::kContinuous),
      masking_(std::move(masking)) {
  CHECK(masking_.mask_token >= 0 && masking_.mask_token < masking_.vocabulary);
  if (documents_ == Documents::kApart && validation_) require_documents(*validation_);
}

double MaskedLm::scored_share() const {
  return static_cast<double>(masking_.count(sequence_)) / static_cast<double>(sequence_);
}

Batch MaskedLm::batch_shape(int64_t rows, Documents documents) const {
  return shape_of_masked_batch(rows, sequence_, documents, padded_, masking_);
}

/// Turns a batch of next tokens into one of hidden tokens. Row r draws from the streams of sample first_sample + r.
Batch MaskedLm::hide(Batch batch, uint64_t seed, uint64_t first_sample) const {
  const int64_t rows = batch.tokens.shape()[0];
  const int64_t room = masking_.count(sequence_);
  const Tensor next = batch.targets;
  batch.first_sample = first_sample;
  batch.targets = host_integers({rows * room});
  batch.positions = host_integers({rows * room});
  if (padded_ || documents_ == Documents::kApart) batch.end_key = host_integers({rows, sequence_});
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t used = used_places(next.data<int32_t>() + row * sequence_, sequence_);
    if (batch.end_key.defined()) {
      fill_ends(batch.first_key.defined() ? batch.first_key.data<int32_t>() + row * sequence_ : nullptr, used,
                sequence_, batch.end_key.data<int32_t>() + row * sequence_);
    }
    int32_t* const places = batch.positions.data<int32_t>() + row * room;
    int32_t* const targets = batch.targets.data<int32_t>() + row * room;
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    const auto most = static_cast<size_t>(room);
    const int64_t count = mask_tokens(masking_, {seed, sample, kChoiceSite}, {seed, sample, kFateSite},
                                      {batch.tokens.data<int32_t>() + row * sequence_, static_cast<size_t>(used)},
                                      {places, most}, {targets, most});
    std::fill(places + count, places + room, 0);
    std::fill(targets + count, targets + room, kIgnoreIndex);
    for (int64_t i = 0; i < room; ++i) places[i] += static_cast<int32_t>(row * sequence_);
  }
  return batch;
}

Batch MaskedLm::training_batch(uint64_t first_sample, int64_t count) const {
  return hide(train_.batch(first_sample, count), seed_, first_sample);
}

int64_t MaskedLm::validation_sequences(int64_t limit) const {
  if (!validation_) return 0;
  const int64_t all = (validation_->tokens() - 1) / sequence_;
  return limit > 0 ? std::min(limit, all) : all;
}

int64_t MaskedLm::validation_batches(int64_t count, int64_t limit) const {
  return (validation_sequences(limit) + count - 1) / count;
}

Batch MaskedLm::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const int64_t first = index * count;
  return hide(fill_validation_batch(*validation_, masking_.vocabulary, first,
                                    std::min(count, validation_sequences(limit) - first), count, sequence_, documents_),
              kValidationSeed, static_cast<uint64_t>(first));
}

LossSum MaskedLm::loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const {
  return masked_lm_loss(tape, model, batch, options);
}

EvaluationSum MaskedLm::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const Variable rows = scored_rows(tape, model, batch, {});
  EvaluationSum sum;
  sum.loss = masked_rows_loss(tape, model, rows, batch.targets);
  sum.correct = masked_rows_right(tape.context(), model, rows, batch.targets);
  return sum;
}

std::map<std::string, std::string> MaskedLm::fingerprint() const {
  std::map<std::string, std::string> facts = train_.fingerprint();
  if (validation_) facts["validation data"] = std::to_string(validation_->fingerprint());
  return facts;
}

Batch shape_of_masked_batch(int64_t rows, int64_t sequence, Documents documents, bool padded, const Masking& masking) {
  Batch batch = shape_of_batch(rows, sequence, documents);
  const int64_t room = masking.count(sequence);
  batch.targets = Tensor::view(nullptr, {rows * room}, DType::kI32);
  batch.positions = Tensor::view(nullptr, {rows * room}, DType::kI32);
  if (padded || documents == Documents::kApart) batch.end_key = Tensor::view(nullptr, {rows, sequence}, DType::kI32);
  return batch;
}

LossSum masked_lm_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) {
  return masked_rows_loss(tape, model, scored_rows(tape, model, batch, std::move(options)), batch.targets);
}

Variable masked_rows(Tape& tape, const Transformer& model, const Variable& hidden, const Tensor& positions) {
  return model.head_input(tape, select_rows(tape, hidden, positions));
}

LossSum masked_rows_loss(Tape& tape, const Transformer& model, const Variable& rows, const Tensor& targets) {
  CrossEntropyOptions options;
  options.soft_cap = model.config().logit_soft_cap();
  return cross_entropy_loss(tape, rows, model.output_weight(), targets, model.config().vocabulary(), {}, options,
                            model.output_bias());
}

int64_t masked_rows_right(const Context& context, const Transformer& model, const Variable& rows,
                          const Tensor& targets) {
  return count_right(context, as_matrix(rows.value), model.output_weight(), model.output_bias(), targets,
                     model.config().vocabulary());
}

}  // namespace tsugi
