#include "core/objective/next_sentence.h"

#include <algorithm>

#include "core/nn/accuracy.h"
#include "core/objective/masked_lm.h"
#include "ops/base/error.h"
#include "ops/tensor/copy.h"

namespace tsugi {
namespace {

constexpr uint32_t kPairChoiceSite = 0x4D530002;
constexpr uint32_t kPairFateSite = 0x4D530003;
constexpr uint64_t kPairMaskSeed = 0x4D41534B;  // of validation
constexpr int64_t kPairMarks = 3;               // [CLS] and two [SEP]
constexpr int64_t kPairAnswers = 2;

TextPairs::Options pair_options(const Masking& masking, const PairRule& rule, int64_t sequence) {
  if (sequence < kPairMarks + 2) {
    throw Error(ExitCode::kUsage,
                "batch.sequence is " + std::to_string(sequence) +
                    ", which has no room for [CLS], two pieces of text and a [SEP] behind each",
                "set it to 5 or more");
  }
  return {.tokens = sequence - kPairMarks,
          .short_share = rule.short_share,
          .special = masking.special,
          .ends = rule.sentence_ends};
}

/// What both losses read.
struct PairOutputs {
  Variable rows;    ///< of hidden tokens
  Variable pooled;  ///< of pairs
};

PairOutputs pair_outputs(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) {
  options.end_key = batch.end_key;
  options.segments = batch.segments;
  const Variable hidden = model.hidden(tape, batch.tokens, options);
  return {masked_rows(tape, model, hidden, batch.positions),
          model.pooler_output(tape, select_rows(tape, hidden, batch.first_places))};
}

LossSum loss_of_pairs(Tape& tape, const Transformer& model, const PairOutputs& outputs, const Batch& batch) {
  LossSum loss = masked_rows_loss(tape, model, outputs.rows, batch.targets);
  // A pair counts once for each hidden token of its row.
  const Variable votes = select_rows(tape, outputs.pooled, batch.vote_rows);
  loss.sum += cross_entropy_loss(tape, votes, model.next_sentence_weight(), batch.votes, kPairAnswers, {}, {},
                                 model.next_sentence_bias())
                  .sum;
  return loss;
}

}  // namespace

int64_t hidden_tokens_of_pair(int64_t sequence, const Masking& masking) { return masking.count(sequence - kPairMarks); }

Batch shape_of_next_sentence_batch(int64_t rows, int64_t sequence, const Masking& masking) {
  const int64_t room = rows * hidden_tokens_of_pair(sequence, masking);
  Batch batch = shape_of_batch(rows, sequence);
  for (Tensor* const one : {&batch.segments, &batch.end_key}) *one = batch.tokens;
  for (Tensor* const one : {&batch.targets, &batch.positions, &batch.vote_rows, &batch.votes}) {
    *one = Tensor::view(nullptr, {room}, DType::kI32);
  }
  for (Tensor* const one : {&batch.first_places, &batch.answers}) *one = Tensor::view(nullptr, {rows}, DType::kI32);
  return batch;
}

Batch empty_next_sentence_batch(int64_t rows, int64_t sequence, const Masking& masking) {
  Batch batch = shape_of_next_sentence_batch(rows, sequence, masking);
  const auto take = [](Tensor& tensor, int32_t value) {
    tensor = host_integers(tensor.shape());
    std::fill_n(tensor.data<int32_t>(), tensor.elements(), value);
  };
  for (Tensor* const one : {&batch.tokens, &batch.segments, &batch.positions, &batch.vote_rows, &batch.first_places}) {
    take(*one, 0);
  }
  for (Tensor* const one : {&batch.targets, &batch.votes, &batch.answers}) take(*one, kIgnoreIndex);
  take(batch.end_key, 1);
  const int64_t room = hidden_tokens_of_pair(sequence, masking);
  for (int64_t row = 0; row < rows; ++row) {
    batch.first_places.data<int32_t>()[row] = static_cast<int32_t>(row * sequence);
    std::fill_n(batch.positions.data<int32_t>() + row * room, room, static_cast<int32_t>(row * sequence));
    std::fill_n(batch.vote_rows.data<int32_t>() + row * room, room, static_cast<int32_t>(row));
  }
  return batch;
}

NextSentence::NextSentence(TokenFile train, std::optional<TokenFile> validation, int64_t sequence, uint64_t seed,
                           Masking masking, PairRule rule)
    : sequence_(sequence),
      seed_(seed),
      masking_(std::move(masking)),
      rule_(std::move(rule)),
      train_(std::move(train), masking_.vocabulary, pair_options(masking_, rule_, sequence)) {
  for (const int32_t mark : {rule_.cls_token, rule_.sep_token}) {
    CHECK(std::ranges::binary_search(masking_.special, mark)) << mark;
  }
  if (validation) {
    validation_.emplace(*std::move(validation), masking_.vocabulary, pair_options(masking_, rule_, sequence));
  }
}

double NextSentence::scored_share() const {
  return static_cast<double>(hidden_tokens_of_pair(sequence_, masking_)) / static_cast<double>(sequence_);
}

std::string NextSentence::describe_data() const {
  return train_.file().path() + ": " + std::to_string(train_.file().tokens()) + " tokens, " +
         std::to_string(train_.documents()) + " documents, " + std::to_string(train_.windows()) + " pairs an epoch";
}

Batch NextSentence::batch_shape(int64_t rows, Documents /*documents*/) const {
  return shape_of_next_sentence_batch(rows, sequence_, masking_);
}

void NextSentence::fill(const Batch& batch, int64_t row, const TextPair& pair, uint64_t seed, uint64_t sample) const {
  int32_t* const tokens = batch.tokens.data<int32_t>() + row * sequence_;
  int32_t* to = tokens;
  *to++ = rule_.cls_token;
  to = std::ranges::copy(pair.first, to).out;
  *to++ = rule_.sep_token;
  const auto second = to - tokens;
  to = std::ranges::copy(pair.second, to).out;
  *to++ = rule_.sep_token;
  const auto used = to - tokens;
  CHECK_LE(used, sequence_);
  std::fill_n(batch.segments.data<int32_t>() + row * sequence_ + second, used - second, 1);
  std::fill_n(batch.end_key.data<int32_t>() + row * sequence_, sequence_, static_cast<int32_t>(used));

  const auto room = static_cast<size_t>(hidden_tokens_of_pair(sequence_, masking_));
  const int64_t first = row * static_cast<int64_t>(room);
  int32_t* const places = batch.positions.data<int32_t>() + first;
  int32_t* const targets = batch.targets.data<int32_t>() + first;
  const int64_t count = mask_tokens(masking_, {seed, sample, kPairChoiceSite}, {seed, sample, kPairFateSite},
                                    {tokens, static_cast<size_t>(used)}, {places, room}, {targets, room});
  for (int64_t i = 0; i < count; ++i) places[i] += static_cast<int32_t>(row * sequence_);
  const int32_t answer = pair.follows ? 0 : 1;
  std::fill_n(batch.votes.data<int32_t>() + first, count, answer);
  batch.answers.data<int32_t>()[row] = answer;
}

Batch NextSentence::training_batch(uint64_t first_sample, int64_t count) const {
  Batch batch = empty_next_sentence_batch(count, sequence_, masking_);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    fill(batch, row, train_.sample(sample, seed_), seed_, sample);
  }
  return batch;
}

int64_t NextSentence::validation_rows(int64_t limit) const {
  if (!validation_) return 0;
  return limit > 0 ? std::min(limit, validation_->windows()) : validation_->windows();
}

int64_t NextSentence::validation_batches(int64_t count, int64_t limit) const {
  return (validation_rows(limit) + count - 1) / count;
}

Batch NextSentence::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  Batch batch = empty_next_sentence_batch(count, sequence_, masking_);
  const int64_t end = std::min((index + 1) * count, validation_rows(limit));
  for (int64_t pair = index * count; pair < end; ++pair) {
    fill(batch, pair - index * count, validation_->fixed(pair), kPairMaskSeed, static_cast<uint64_t>(pair));
  }
  return batch;
}

LossSum NextSentence::loss(Tape& tape, const Transformer& model, const Batch& batch,
                           const ForwardOptions& options) const {
  return next_sentence_loss(tape, model, batch, options);
}

EvaluationSum NextSentence::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  const PairOutputs outputs = pair_outputs(tape, model, batch, {});
  EvaluationSum sum;
  sum.loss = loss_of_pairs(tape, model, outputs, batch);
  sum.correct = masked_rows_right(tape.context(), model, outputs.rows, batch.targets);
  Average pairs;
  pairs.sum = static_cast<double>(count_right(tape.context(), outputs.pooled.value, model.next_sentence_weight(),
                                              model.next_sentence_bias(), batch.answers, kPairAnswers));
  if (!tape.context().meta()) {
    const Tensor answers = on_host(tape.context(), batch.answers);
    const int32_t* const first = answers.data<int32_t>();
    const auto asked = [](int32_t one) { return one != kIgnoreIndex; };
    pairs.count = static_cast<double>(std::count_if(first, first + answers.elements(), asked));
  }
  sum.scores = {pairs};
  return sum;
}

std::map<std::string, std::string> NextSentence::fingerprint() const {
  std::map<std::string, std::string> facts{
      {"training data", std::to_string(train_.file().fingerprint()) + " in pairs"}};
  if (validation_) facts["validation data"] = std::to_string(validation_->file().fingerprint());
  return facts;
}

LossSum next_sentence_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options) {
  return loss_of_pairs(tape, model, pair_outputs(tape, model, batch, std::move(options)), batch);
}

}  // namespace tsugi
