// Masked language modelling on pairs of pieces of text, and whether the second piece follows the first (Devlin et al.
// 2019, section 3.1): what BERT learns. RoBERTa does without (core/objective/masked_lm.h).
#pragma once

#include <optional>

#include "core/data/text_pairs.h"
#include "core/objective/masking.h"
#include "core/objective/objective.h"

namespace tsugi {

/// What rows are made of beside text.
struct PairRule {
  double short_share = 0.1;            ///< of the rows are shorter than the sequence
  int32_t cls_token = 0;               ///< begins a row
  int32_t sep_token = 0;               ///< ends each of its pieces
  std::vector<int32_t> sentence_ends;  ///< ascending; second pieces preferably begin behind one of these
};

/// A row is "[CLS] A [SEP] B [SEP]", padded on the right with tokens that nothing sees; segments are 0 and 1. The pair
/// is that of TextPairs, the hidden tokens those of Masking: pure functions of (seed, sample), whatever the ranks;
/// validation always takes the same.
///
/// The loss is Σ over rows of (Σ of its hidden tokens' losses + their number · the loss of its pair), and its count
/// that of the hidden tokens: where all rows are full, the sum of the two mean losses, as in BERT's code; a shorter
/// row's pair weighs as much less as its tokens do.
class NextSentence : public Objective {
 public:
  /// `masking.special` has both tokens of the rule (checked). Throws Error(kUsage) when a sequence has no room for two
  /// pieces, and as TextPairs does.
  NextSentence(TokenFile train, std::optional<TokenFile> validation, int64_t sequence, uint64_t seed, Masking masking,
               PairRule rule);

  const char* name() const override { return "masked_lm"; }
  bool recordable() const override { return false; }
  int64_t sequence() const override { return sequence_; }
  bool has_accuracy() const override { return true; }
  std::vector<std::string> score_names() const override { return {"next_sentence_accuracy"}; }
  double scored_share() const override;
  std::string describe_data() const override;
  Batch batch_shape(int64_t rows, Documents documents) const override;
  Batch training_batch(uint64_t first_sample, int64_t count) const override;
  int64_t validation_batches(int64_t count, int64_t limit) const override;
  Batch validation_batch(int64_t index, int64_t count, int64_t limit) const override;
  LossSum loss(Tape& tape, const Transformer& model, const Batch& batch, const ForwardOptions& options) const override;
  EvaluationSum evaluate(Tape& tape, const Transformer& model, const Batch& batch) const override;
  std::map<std::string, std::string> fingerprint() const override;

 private:
  int64_t validation_rows(int64_t limit) const;
  void fill(const Batch& batch, int64_t row, const TextPair& pair, uint64_t seed, uint64_t sample) const;

  int64_t sequence_;
  uint64_t seed_;
  Masking masking_;
  PairRule rule_;
  TextPairs train_;
  std::optional<TextPairs> validation_;
};

/// Rows of padding in host memory; and the same without content.
Batch empty_next_sentence_batch(int64_t rows, int64_t sequence, const Masking& masking);
Batch shape_of_next_sentence_batch(int64_t rows, int64_t sequence, const Masking& masking);
/// Hidden tokens of a row, at most.
int64_t hidden_tokens_of_pair(int64_t sequence, const Masking& masking);

/// The loss of such a batch; on meta contexts too.
LossSum next_sentence_loss(Tape& tape, const Transformer& model, const Batch& batch, ForwardOptions options);

}  // namespace tsugi
