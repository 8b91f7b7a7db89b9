#include "launch/planned_lm.h"

#include <algorithm>

#include "core/config/config.h"
#include "core/objective/causal_lm.h"
#include "core/objective/denoising_lm.h"
#include "launch/mask_token.h"

namespace tsugi {

PlannedLm::PlannedLm(const RunConfig& config) : config_(config), masked_(hiding_of(config.objective()).has_value()) {
  if (masked_) masking_ = masking_of(*hiding_of(config.objective()), nullptr, config.model().vocabulary());
  if (config.objective().has_replaced_token_detection()) {
    replaced_.emplace(config.objective().replaced_token_detection(), config.model(), PlannedLm::scored_share());
  }
  const int64_t inputs = config.batch().sequence();
  if (config.objective().has_sequence_to_sequence()) {
    const int64_t responses = config.objective().sequence_to_sequence().response_sequence();
    pairs_ = PairShape{inputs, responses > 0 ? responses : inputs, true};
  } else if (learns_pairs(config.objective())) {
    pairs_ = shape_of_denoising(rules_of(config.objective()), inputs);
  }
}

void PlannedLm::declare_heads(ParameterStore& store, const ModelConfig& config) {
  (void)config;
  if (replaced_) replaced_->declare(store);
}

double PlannedLm::scored_share() const {
  if (pairs_) return static_cast<double>(pairs_->targets) / static_cast<double>(pairs_->inputs);
  if (!masked_) return 1.0;
  if (next_sentence()) {
    return static_cast<double>(hidden_tokens_of_pair(sequence(), masking_)) / static_cast<double>(sequence());
  }
  return static_cast<double>(masking_.count(sequence())) / static_cast<double>(sequence());
}

Batch PlannedLm::batch_shape(int64_t rows, Documents documents) const {
  if (pairs_) return shape_of_pair_batch(rows, *pairs_);
  if (!masked_) return shape_of_batch(rows, sequence(), documents);
  if (next_sentence()) return shape_of_next_sentence_batch(rows, sequence(), masking_);
  const bool padded = config_.data().packing() != DataConfig::CONTINUOUS;
  return shape_of_masked_batch(rows, sequence(), documents, padded, masking_);
}

LossSum PlannedLm::loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const {
  if (pairs_) return pair_loss(tape, model, batch, options);
  if (replaced_) return replaced_->loss(tape, model, batch, options, 0);
  if (next_sentence()) return next_sentence_loss(tape, model, batch, options);
  if (masked_) return masked_lm_loss(tape, model, batch, options);
  return causal_lm_loss(tape, model, batch, options, config_.objective().causal_lm());
}

Batch RandomTokensLm::training_batch(uint64_t first_sample, int64_t count) const {
  if (pairs()) return random_pairs(first_sample, count);
  if (next_sentence()) return random_sentences(first_sample, count);
  const int64_t length = sequence();
  Batch batch;
  batch.tokens = host_integers({count, length});
  batch.first_sample = first_sample;
  const int64_t scored = masking() == nullptr ? length : masking()->count(length);
  batch.targets = host_integers(masking() == nullptr ? Shape{count, length} : Shape{count * scored});
  if (masking() != nullptr) batch.positions = host_integers({count * scored});
  for (int64_t row = 0; row < count; ++row) {
    const RandomStream stream{0, first_sample + static_cast<uint64_t>(row), 0};
    const auto token = [&](int64_t t) {
      return static_cast<int32_t>(stream.word(static_cast<uint64_t>(t)) %
                                  static_cast<uint64_t>(config().model().vocabulary()));
    };
    for (int64_t t = 0; t < length; ++t) batch.tokens.data<int32_t>()[row * length + t] = token(t);
    for (int64_t i = 0; i < scored; ++i) {
      batch.targets.data<int32_t>()[row * scored + i] = token(i + 1);
      if (masking() != nullptr) {
        batch.positions.data<int32_t>()[row * scored + i] = static_cast<int32_t>(row * length + i);
      }
    }
  }
  return batch;
}

Batch RandomTokensLm::random_sentences(uint64_t first_sample, int64_t count) const {
  const int64_t length = sequence();
  const int64_t room = hidden_tokens_of_pair(length, *masking());
  Batch batch = empty_next_sentence_batch(count, length, *masking());
  batch.first_sample = first_sample;
  std::fill_n(batch.end_key.data<int32_t>(), count * length, static_cast<int32_t>(length));
  for (int64_t row = 0; row < count; ++row) {
    const RandomStream stream{0, first_sample + static_cast<uint64_t>(row), 0};
    int32_t* const tokens = batch.tokens.data<int32_t>() + row * length;
    for (int64_t t = 0; t < length; ++t) {
      tokens[t] = static_cast<int32_t>(stream.word(static_cast<uint64_t>(t)) %
                                       static_cast<uint64_t>(config().model().vocabulary()));
      batch.segments.data<int32_t>()[row * length + t] = 2 * t < length ? 0 : 1;
    }
    batch.answers.data<int32_t>()[row] = static_cast<int32_t>(row % 2);
    for (int64_t i = row * room; i < (row + 1) * room; ++i) {
      batch.targets.data<int32_t>()[i] = tokens[i - row * room];
      batch.positions.data<int32_t>()[i] = static_cast<int32_t>(row * length + i - row * room);
      batch.votes.data<int32_t>()[i] = static_cast<int32_t>(row % 2);
    }
  }
  return batch;
}

Batch RandomTokensLm::random_pairs(uint64_t first_sample, int64_t count) const {
  std::vector<TokenPair> rows(static_cast<size_t>(count));
  for (size_t row = 0; row < rows.size(); ++row) {
    const RandomStream stream{0, first_sample + row, 0};
    const auto fill = [&](int64_t length, std::vector<int32_t>& ids) {
      for (int64_t t = 0; t < length; ++t) {
        ids.push_back(static_cast<int32_t>(stream.word(static_cast<uint64_t>(t)) %
                                           static_cast<uint64_t>(config().model().vocabulary())));
      }
    };
    fill(pairs()->inputs, rows[row].input);
    fill(pairs()->targets, rows[row].target);
  }
  Batch batch = fill_pairs(rows, count, *pairs(), config().model().decoder_start_token());
  batch.first_sample = first_sample;
  return batch;
}

}  // namespace tsugi
