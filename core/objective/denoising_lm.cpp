#include "core/objective/denoising_lm.h"

#include <glog/logging.h>

#include <algorithm>

#include "ops/base/error.h"

namespace tsugi {
namespace {

constexpr uint32_t kRuleSite = 0x444E0000;
constexpr uint32_t kTextNoiseSite = 0x444E0001;
constexpr uint64_t kDenoisingValidationSeed = 0x4E4F4953;

}  // namespace

int64_t text_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence) {
  int64_t longest = 0;
  for (const DenoisingRule& rule : rules) longest = std::max(longest, rule.text_length(sequence));
  return longest;
}

int64_t sentinels_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence) {
  int64_t most = 0;
  for (const DenoisingRule& rule : rules) most = std::max(most, rule.sentinels(rule.text_length(sequence)));
  return most;
}

PairShape shape_of_denoising(const std::vector<DenoisingRule>& rules, int64_t sequence) {
  PairShape shape{sequence, 0, rules.size() > 1};
  for (const DenoisingRule& rule : rules) {
    const int64_t text = rule.text_length(sequence);
    const int64_t input = rule.input_length(text);
    if (input > sequence) {
      throw Error(ExitCode::kUsage,
                  "batch.sequence is " + std::to_string(sequence) +
                      ", but the least text that can be denoised becomes an "
                      "input of " +
                      std::to_string(input) + " tokens",
                  "set batch.sequence to some hundred tokens");
    }
    shape.padded = shape.padded || !rule.static_lengths() || input != sequence;
    shape.targets = std::max(shape.targets, rule.target_length(text));
  }
  return shape;
}

DenoisingLm::DenoisingLm(LanguageData data, DenoisingRules rules, int64_t vocabulary, int64_t sequence,
                         int32_t start_token, uint64_t seed)
    : rules_(std::move(rules)),
      shape_(shape_of_denoising(rules_.rules, sequence)),
      text_(text_of_denoising(rules_.rules, sequence)),
      vocabulary_(vocabulary),
      start_token_(start_token),
      seed_(seed),
      train_(std::move(data.train), data.packing, data.documents, vocabulary, text_, seed),
      validation_(std::move(data.validation)) {
  CHECK(data.packing == Packing::kContinuous && data.documents == Documents::kJoined);
  CHECK_GE(static_cast<int64_t>(rules_.sentinels.size()), sentinels_of_denoising(rules_.rules, sequence));
}

Batch DenoisingLm::batch_shape(int64_t rows, Documents /*documents*/) const {
  return shape_of_pair_batch(rows, shape_);
}

Batch DenoisingLm::pairs_of(const Batch& texts, int64_t rows, uint64_t seed, uint64_t first_sample) const {
  std::vector<TokenPair> pairs;
  for (int64_t row = 0; row < rows; ++row) {
    const uint64_t sample = first_sample + static_cast<uint64_t>(row);
    const DenoisingRule& rule = rules_.draw(RandomStream{seed, sample, kRuleSite}.word(0));
    const std::span<const int32_t> text(texts.tokens.data<int32_t>() + row * text_,
                                        static_cast<size_t>(rule.text_length(shape_.inputs)));
    pairs.push_back(denoise(rules_, rule, text, {seed, sample, kTextNoiseSite}));
  }
  Batch batch = fill_pairs(pairs, texts.tokens.shape()[0], shape_, start_token_);
  batch.first_sample = texts.first_sample;
  return batch;
}

Batch DenoisingLm::training_batch(uint64_t first_sample, int64_t count) const {
  return pairs_of(train_.batch(first_sample, count), count, seed_, first_sample);
}

int64_t DenoisingLm::validation_texts(int64_t limit) const {
  if (!validation_) return 0;
  const int64_t all = (validation_->tokens() - 1) / text_;
  return limit > 0 ? std::min(limit, all) : all;
}

int64_t DenoisingLm::validation_batches(int64_t count, int64_t limit) const {
  return (validation_texts(limit) + count - 1) / count;
}

Batch DenoisingLm::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const int64_t first = index * count;
  const int64_t rows = std::min(count, validation_texts(limit) - first);
  const Batch texts = fill_validation_batch(*validation_, vocabulary_, first, rows, count, text_);
  return pairs_of(texts, rows, kDenoisingValidationSeed, static_cast<uint64_t>(first));
}

LossSum DenoisingLm::loss(Tape& tape, const Transformer& model, const Batch& batch,
                          const ForwardOptions& options) const {
  return pair_loss(tape, model, batch, options);
}

EvaluationSum DenoisingLm::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  return evaluate_pairs(tape, model, batch);
}

std::map<std::string, std::string> DenoisingLm::fingerprint() const {
  std::map<std::string, std::string> facts = train_.fingerprint();
  if (validation_) facts["validation data"] = std::to_string(validation_->fingerprint());
  return facts;
}

}  // namespace tsugi
