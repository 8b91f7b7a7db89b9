#include "core/objective/instruction_tuning.h"

#include <glog/logging.h>

#include <algorithm>

#include "core/data/sampler.h"
#include "core/objective/causal_lm.h"

namespace tsugi {
namespace {

constexpr uint64_t kInstructionShuffleStream = 0x5F70000000000;

}  // namespace

ExampleRows::ExampleRows(std::vector<ScoredTokens> examples, int64_t sequence, bool packed)
    : examples_(std::move(examples)) {
  if (examples_.empty()) return;
  int64_t places = 0;
  for (const ScoredTokens& example : examples_) {
    const auto length = static_cast<int64_t>(example.ids.size()) - 1;
    CHECK(length > 0 && length <= sequence) << length;
    if (packed) starts_.push_back(places);
    places += length;
  }
  if (packed) rows_.emplace(starts_, places, sequence);
  fullness_ = static_cast<double>(places) / (static_cast<double>(rows()) * static_cast<double>(sequence));
}

void ExampleRows::fill(const Batch& batch, int64_t batch_row, int64_t row) const {
  std::vector<const ScoredTokens*> examples;
  if (!rows_) {
    examples.push_back(&examples_[static_cast<size_t>(row)]);
  } else {
    for (const Segment& segment : rows_->row(row)) {
      const auto place = std::ranges::lower_bound(starts_, segment.begin) - starts_.begin();
      examples.push_back(&examples_[static_cast<size_t>(place)]);
    }
  }
  fill_examples(batch, batch_row, examples);
}

InstructionTuning::InstructionTuning(std::vector<ScoredTokens> train, std::vector<ScoredTokens> validation,
                                     int64_t sequence, bool packed, uint64_t seed)
    : train_(std::move(train), sequence, packed),
      validation_(std::move(validation), sequence, packed),
      sequence_(sequence),
      documents_(packed ? Documents::kApart : Documents::kJoined),
      seed_(seed) {}

Batch InstructionTuning::padding(int64_t count) const { return padding_batch(count, sequence_, documents_); }

Batch InstructionTuning::training_batch(uint64_t first_sample, int64_t count) const {
  const auto size = static_cast<uint64_t>(train_.rows());
  CHECK_GT(size, 0u) << "there is nothing to train on";
  Batch batch = padding(count);
  batch.first_sample = first_sample;
  for (int64_t row = 0; row < count; ++row) {
    const uint64_t index = first_sample + static_cast<uint64_t>(row);
    train_.fill(
        batch, row,
        static_cast<int64_t>(permute_index(index % size, size, seed_, kInstructionShuffleStream + index / size)));
  }
  return batch;
}

int64_t InstructionTuning::validation_batches(int64_t count, int64_t limit) const {
  const int64_t all = validation_.examples().empty() ? 0 : validation_.rows();
  return ((limit > 0 ? std::min(limit, all) : all) + count - 1) / count;
}

Batch InstructionTuning::validation_batch(int64_t index, int64_t count, int64_t limit) const {
  const int64_t all = limit > 0 ? std::min(limit, validation_.rows()) : validation_.rows();
  Batch batch = padding(count);
  for (int64_t row = index * count; row < std::min((index + 1) * count, all); ++row) {
    validation_.fill(batch, row - index * count, row);
  }
  return batch;
}

LossSum InstructionTuning::loss(Tape& tape, const Transformer& model, const Batch& batch,
                                const ForwardOptions& options) const {
  return causal_lm_loss(tape, model, batch, options, {});
}

std::map<std::string, std::string> InstructionTuning::fingerprint() const {
  return {{"training data", std::to_string(fingerprint_of(train_.examples()))},
          {"validation data", std::to_string(fingerprint_of(validation_.examples()))}};
}

}  // namespace tsugi
