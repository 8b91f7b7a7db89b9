#include "core/objective/sequence_to_sequence.h"

#include <glog/logging.h>

#include <algorithm>
#include <array>
#include <span>

#include "core/data/hash.h"
#include "core/data/sampler.h"

namespace tsugi {
namespace {

constexpr uint64_t kPairShuffleStream = 0x5350000000000;

uint64_t fingerprint_of_pairs(const std::vector<TokenPair>& pairs) {
  Hash64 hash;
  for (const TokenPair& pair : pairs) {
    for (const std::vector<int32_t>* ids : {&pair.input, &pair.target}) {
      const std::array<uint64_t, 1> size{ids->size()};
      hash.update(std::as_bytes(std::span(size)));
      hash.update(std::as_bytes(std::span(*ids)));
    }
  }
  return hash.value();
}

}  // namespace

SequenceToSequenceLm::SequenceToSequenceLm(std::vector<TokenPair> train, std::vector<TokenPair> validation,
                                           PairShape shape, int32_t start_token, uint64_t seed)
    : train_(std::move(train)),
      validation_(std::move(validation)),
      shape_(shape),
      start_token_(start_token),
      seed_(seed) {
  CHECK(shape_.padded);
}

Batch SequenceToSequenceLm::batch_shape(int64_t rows, Documents /*documents*/) const {
  return shape_of_pair_batch(rows, shape_);
}

Batch SequenceToSequenceLm::training_batch(uint64_t first_sample, int64_t count) const {
  const uint64_t size = train_.size();
  CHECK_GT(size, 0u) << "there is nothing to train on";
  std::vector<TokenPair> pairs;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t index = first_sample + static_cast<uint64_t>(row);
    pairs.push_back(train_[permute_index(index % size, size, seed_, kPairShuffleStream + index / size)]);
  }
  Batch batch = fill_pairs(pairs, count, shape_, start_token_);
  batch.first_sample = first_sample;
  return batch;
}

int64_t SequenceToSequenceLm::validation_batches(int64_t count, int64_t limit) const {
  const auto all = static_cast<int64_t>(validation_.size());
  return ((limit > 0 ? std::min(limit, all) : all) + count - 1) / count;
}

Batch SequenceToSequenceLm::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const auto size = static_cast<int64_t>(validation_.size());
  const int64_t all = limit > 0 ? std::min(limit, size) : size;
  const auto first = validation_.begin() + index * count;
  return fill_pairs({first, validation_.begin() + std::min((index + 1) * count, all)}, count, shape_, start_token_);
}

LossSum SequenceToSequenceLm::loss(Tape& tape, const Transformer& model, const Batch& batch,
                                   const ForwardOptions& options) const {
  return pair_loss(tape, model, batch, options);
}

EvaluationSum SequenceToSequenceLm::evaluate(Tape& tape, const Transformer& model, const Batch& batch) const {
  return evaluate_pairs(tape, model, batch);
}

std::map<std::string, std::string> SequenceToSequenceLm::fingerprint() const {
  return {{"training data", std::to_string(fingerprint_of_pairs(train_))},
          {"validation data", std::to_string(fingerprint_of_pairs(validation_))}};
}

}  // namespace tsugi
