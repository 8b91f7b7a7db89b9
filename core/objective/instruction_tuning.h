// Supervised fine-tuning: next-token prediction on the responses of prompts.
#pragma once

#include <optional>
#include <vector>

#include "core/data/instructions.h"
#include "core/objective/objective.h"

namespace tsugi {

/// Examples as rows of at most `sequence` places, one per row or, packed, as many as fit (core/data/packing.h).
class ExampleRows {
 public:
  /// No example may have more than `sequence` + 1 tokens (checked).
  ExampleRows(std::vector<ScoredTokens> examples, int64_t sequence, bool packed);

  int64_t rows() const { return rows_ ? rows_->rows() : static_cast<int64_t>(examples_.size()); }
  const std::vector<ScoredTokens>& examples() const { return examples_; }
  /// The part of the places in all rows that hold a token of an example.
  double fullness() const { return fullness_; }
  void fill(const Batch& batch, int64_t batch_row, int64_t row) const;

 private:
  std::vector<ScoredTokens> examples_;
  std::vector<int64_t> starts_;  ///< of the examples, one after another; packed only
  std::optional<PackedRows> rows_;
  double fullness_ = 1.0;
};

/// The loss is the mean over the scored tokens of the global batch. Each epoch visits every row once, in an order of
/// its own; sample k is a pure function of (seed, k).
class InstructionTuning : public Objective {
 public:
  /// `packed`: several examples share a row, and no token sees another example. Positions count on through the row, so
  /// that packing is for models whose positions are relative (rotary).
  InstructionTuning(std::vector<ScoredTokens> train, std::vector<ScoredTokens> validation, int64_t sequence,
                    bool packed, uint64_t seed);

  const char* name() const override { return "instructions"; }
  int64_t sequence() const override { return sequence_; }
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  std::map<std::string, std::string> fingerprint() const override;
  const ExampleRows& train() const { return train_; }
  const ExampleRows& validation() const { return validation_; }

 private:
  Batch padding(int64_t count) const;

  ExampleRows train_;
  ExampleRows validation_;
  int64_t sequence_;
  Documents documents_;
  uint64_t seed_;
};

}  // namespace tsugi
